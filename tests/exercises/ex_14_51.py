import numpy as np


def holm(ps):
    ps = np.asarray(ps, dtype=float)
    order = ps.argsort()
    raised = np.minimum(1, np.maximum.accumulate(ps[order]*np.arange(len(ps), 0, -1)))
    out = np.empty(len(ps))
    out[order] = raised
    return out.tolist()
