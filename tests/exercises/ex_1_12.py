"The hyperbolic tangent as a sigmoid: (1 + tanh u)/2 = sigmoid(2 u)."
import torch


def gelu_new(x):
    return x*torch.sigmoid(2*(2/torch.pi)**0.5*(x + 0.044715*x*x*x))
