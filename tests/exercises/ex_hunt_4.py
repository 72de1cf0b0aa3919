"Score every token in its own column, the first with 0, and multiply with the mask as it is."
import torch
import torch.nn.functional as F


def reply_logps(logits, ids, mask):
    b, t, vocab = logits.shape
    nll = F.cross_entropy(logits[:, :t - 1].reshape(-1, vocab), ids[:, 1:].reshape(-1), reduction="none")
    scores = torch.cat([nll.new_zeros(b, 1), -nll.view(b, t - 1)], 1)
    return (scores*mask).sum(1)
