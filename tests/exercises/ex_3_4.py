import torch


def head_entropy(h, weight):
    out = []
    for row in h:
        z = weight @ row
        out.append(z.logsumexp(0) - z.softmax(0) @ z)
    return torch.stack(out)
