import torch


def row_lengths(w, A, B, s):
    gram = A @ A.transpose(0, 1)
    inner = torch.einsum("or,or->o", w @ A.transpose(0, 1), B)
    outer = torch.einsum("or,rq,oq->o", B, gram, B)
    return torch.sqrt(w.pow(2).sum(1) + 2*s*inner + s*s*outer)
