import torch


def stack(A1, B1, s1, A2, B2, s2):
    A, B = torch.vstack([s1*A1, s2*A2]), torch.hstack([B1, B2])
    return A, B
