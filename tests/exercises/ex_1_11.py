"Each query by itself, over the keys it may see."
import torch


def attend(q, k, v):
    return torch.stack([(q[i] @ k[:i + 1].T/q.shape[-1]**0.5).softmax(-1) @ v[:i + 1] for i in range(len(q))])
