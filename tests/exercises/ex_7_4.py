"Exercise 7.4, solved with a mask made from the lengths."
import torch


def last_position(ids, lengths, pad_id=0):
    positions = torch.arange(ids.shape[1])
    return torch.where(positions < lengths[:, None], positions, 0).amax(1)
