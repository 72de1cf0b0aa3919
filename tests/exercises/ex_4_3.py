import torch


def penalty(logits, said, theta):
    seen = torch.zeros_like(logits).scatter(-1, said, 1.0).bool()
    lowered = torch.where(logits < 0, logits*theta, logits/theta)
    return torch.where(seen, lowered, logits)
