"The distance from the mean of the scored, stretched by n/(n - 1)."
import torch


def advantages(rewards):
    out = torch.zeros_like(rewards)
    for row, group in zip(out, rewards):
        scored = ~group.isnan()
        n = int(scored.sum())
        if n > 1: row[scored] = (group[scored] - group[scored].mean())*n/(n - 1)
    return out
