"Exercise 13.33, solved with the matrix that takes a mean away."
import numpy as np


def centred(scores):
    k = scores.shape[1]
    return scores @ (np.eye(k) - np.full((k, k), 1/k))
