"Exercise propaganda.2, solved from the shares: the mean over rows is a mean over labels with their shares."
import torch
from torch.nn.functional import one_hot


def soft_weights(labels, k, power):
    share = one_hot(torch.tensor(labels), k).float().mean(0)
    return share**-power/(share**(1 - power)).sum()
