import math

import torch


def correction(logps, engine_logps, mask, cap=2.0):
    real = mask.bool()
    weights = torch.zeros_like(logps.detach())
    gap = (logps.detach() - engine_logps.detach())[real]
    weights[real] = gap.clamp(max=math.log(cap) if cap < float("inf") else cap).exp()
    return weights
