"Exercise 6.1, solved with sums of one-hot rows."
import numpy as np


def macro_f1_of(y_true, y_pred, k):
    t, p = np.eye(k)[np.asarray(y_true)], np.eye(k)[np.asarray(y_pred)]      # (n, k)
    hits, said, meant = (t*p).sum(0), p.sum(0), t.sum(0)
    with np.errstate(invalid="ignore"): f1 = 2*hits/(said + meant)
    return np.nan_to_num(f1).mean()
