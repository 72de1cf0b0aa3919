import numpy as np


def paired_ci(a, b, draws=2000, seed=0):
    "The difference takes three values, so resampling rows is a multinomial draw over them."
    values, counts = np.unique(np.asarray(a) - np.asarray(b), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts/counts.sum(), size=draws)
    return np.quantile(drawn @ values/counts.sum(), [.025, .975])
