"Exercise 6.13, solved with slices that skip."
import numpy as np

from ftlib.calibration import fit_temperature, temper


def cross_temper(probs, y_true, folds=5):
    out = [None]*len(probs)
    for f in range(folds):
        mine = list(range(f, len(probs), folds))
        T = fit_temperature(np.delete(probs, mine, axis=0), np.delete(y_true, mine))
        for i, row in zip(mine, temper(probs[mine], T)): out[i] = row
    return np.array(out)
