import torch


def nucleus(probs, p):
    out = torch.zeros_like(probs)
    for row, kept in zip(probs, out):
        reached = 0.0
        for i in row.argsort(descending=True).tolist():
            kept[i] = row[i]
            reached += row[i].item()
            if reached >= p: break
    return out/out.sum(-1, keepdim=True)
