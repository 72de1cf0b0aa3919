"Exercise 1.43, solved with zip_longest on the masks turned round."
from itertools import zip_longest


def batch_masks(masks, ids=None, pad=0):
    return [list(row) for row in zip(*zip_longest(*masks, fillvalue=0))]
