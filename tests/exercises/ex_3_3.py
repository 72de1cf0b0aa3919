import torch


def k3(logps, ref_logps): return torch.expm1(ref_logps - logps) + logps - ref_logps
