"Exercise 13.3, solved with signs: 1, 0 and -1 become 1, a half and 0."
import numpy as np


def agreement(lengths):
    chosen, rejected = np.array(lengths).T
    return float((1 + np.sign(chosen - rejected)).mean()/2)
