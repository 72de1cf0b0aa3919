"Exercise 7.2, solved by weighing each micro-batch's mean with its own weight."
from torch.nn import functional as F


def accumulated_loss(logits, labels, weight, size):
    total = weight[labels].sum()
    loss = 0
    for z, y in zip(logits.split(size), labels.split(size)):
        loss = loss + F.cross_entropy(z, y, weight=weight)*weight[y].sum()/total
    return loss
