"By hand, with the diagonal moved to the lower right corner."
import torch


def extend(q, k, v):
    t, all_t = q.shape[1], k.shape[1]
    scores = q @ k.transpose(-1, -2)/q.shape[-1]**0.5
    return scores.masked_fill(torch.ones(t, all_t).triu(all_t - t + 1).bool(), -torch.inf).softmax(-1) @ v
