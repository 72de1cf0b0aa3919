"Exercise 6.2, solved by finding the roots of the quadratic numerically."
import numpy as np


def wilson(right, n, z=1.96):
    share = right/n            # (share - p)² = z² p (1 - p)/n, in powers of p
    roots = np.roots([1 + z*z/n, -(2*share + z*z/n), share*share]).real
    return tuple(float(p) for p in np.clip(np.sort(roots), 0, 1))
