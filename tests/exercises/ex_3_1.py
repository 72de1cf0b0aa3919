import torch


def completion_sum(logits, ids, mask):
    n = ids.shape[1]
    total = torch.zeros(len(ids))
    for j in range(1, n):
        chosen = logits[:, j - 1].gather(-1, ids[:, j:j + 1])[:, 0] - logits[:, j - 1].logsumexp(-1)
        total = total + chosen*mask[:, j]
    return total
