"Exercise reference.3, solved with one difference a row."
import numpy as np


def two_sided(probs, labels):
    lean = np.asarray(probs) @ np.array([-1, -1, 0, 1, 1])
    return float(np.mean([(x > 0) == (label > 2) for x, label in zip(lean, labels) if label != 2]))
