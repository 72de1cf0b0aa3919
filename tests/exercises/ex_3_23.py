"Exercise 3.23, solved by changing the first text: the second must not notice, wherever it starts."
import torch
from ftlib.layout import visible


def keeps_apart(logits_of):
    segment = torch.tensor([[1, 1, 1, 2, 2, 2]])
    one, two = (logits_of(torch.tensor([[*first, 7, 8, 9]]), visible(segment))[:, 3:] for first in ((1, 2, 3), (4, 5, 6)))
    alone = logits_of(torch.tensor([[7, 8, 9]]), visible(segment[:, :3]))
    return bool((one - two).abs().max() < 1e-4 and (one - alone).abs().max() < 1e-4)
