"Exercise 14.72, solved with the estimator of 03 logps."
from ftlib.logps import kl_estimate


def kl_of_replies(logps, ref_logps):
    return kl_estimate(logps, ref_logps, "k1").mean().item()
