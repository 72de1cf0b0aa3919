"Exercise 13.12, solved with softplus and weights that sum to one."
import torch


def noisy(delta, beta, e, unbiased):
    wrong = -e/(1 - 2*e) if unbiased else e
    softplus = torch.nn.functional.softplus
    return (1 - wrong)*softplus(-beta*delta) + wrong*softplus(beta*delta)
