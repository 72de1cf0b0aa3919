"In probabilities, from the definition."
import torch


def kl_estimate(logps, ref_logps, kind="k1"):
    d = logps - ref_logps                                  # its mean over the policy is the KL
    estimates = {"k1": lambda: d, "k2": lambda: 0.5*d*d, "k3": lambda: torch.expm1(-d) + d}
    if kind not in estimates: raise ValueError(f"{kind} is not one of {', '.join(estimates)}")
    return estimates[kind]()
