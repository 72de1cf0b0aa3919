"Exercise 12.31, solved by counting the real tokens before each."
import torch


def positions(mask):
    here = torch.zeros_like(mask, dtype=torch.int64)
    for i, row in enumerate(mask.tolist()):
        at = 0
        for j, real in enumerate(row):
            if real: here[i, j], at = at, at + 1
    return here
