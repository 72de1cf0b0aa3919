import torch


def as_linear(W1, b, W2):
    d = W2.shape[1]
    M = W2.transpose(0, 1) @ W1
    M[torch.arange(d), torch.arange(d)] += 1
    return M, b @ W2
