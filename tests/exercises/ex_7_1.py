"Exercise 7.1, solved by picking the largest real position with a gather."
import torch


def last_states(h, mask):
    positions = torch.arange(h.shape[1]).expand(mask.shape)
    last = torch.where(mask.bool(), positions, -1).amax(1)                   # (b,)
    return h.gather(1, last[:, None, None].expand(-1, 1, h.shape[2])).squeeze(1)
