"Exercise 12.4, solved with a product over tokens; padding multiplies by one."
import torch


def importance(logps, old_logps, mask):
    return torch.where(mask.bool(), (logps - old_logps).exp(), torch.ones_like(logps)).prod(1)
