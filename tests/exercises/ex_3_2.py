import torch


def positions_of(mask):
    out = torch.zeros_like(mask)
    for row, real in zip(out, mask.bool()): row[real] = torch.arange(int(real.sum()))
    return out
