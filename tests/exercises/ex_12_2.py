"Exercise 12.2, solved with lengths: the place of the first end, or the whole row."
import torch


def completion_mask(ids, eos):
    t = ids.shape[1]
    lengths = torch.tensor([row.index(eos) + 1 if eos in row else t for row in ids.tolist()])
    return (torch.arange(t) < lengths[:, None]).long()
