"The update is one weight, and both ways of using it read that."
import math

import torch
import torch.nn.functional as F
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base, r=8, alpha=16.0):
        super().__init__()
        self.base, self.alpha = base.requires_grad_(False), alpha
        bound = 1/math.sqrt(base.in_features)
        self.A = nn.Parameter(torch.empty(r, base.in_features).uniform_(-bound, bound))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))

    def delta(self): return self.B @ self.A*(self.alpha/self.A.shape[0])

    def forward(self, x): return F.linear(x, self.base.weight + self.delta(), self.base.bias)

    def merge(self):
        self.base.weight.data += self.delta().detach()
        return self.base
