"Exercise propaganda.3, solved with logarithms, in which the shift is a bias of the logits."
import numpy as np


def shift_shares(probs, trained, wanted):
    z = np.log(probs) + np.log(wanted) - np.log(trained)
    z = np.exp(z - z.max(-1, keepdims=True))
    return z/z.sum(-1, keepdims=True)
