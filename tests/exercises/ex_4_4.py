import torch


def ended_mask(tokens, eos):
    out = torch.ones_like(tokens)
    for row, mask in zip(tokens.tolist(), out):
        if eos in row: mask[row.index(eos)+1:] = 0
    return out
