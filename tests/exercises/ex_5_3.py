"Look at every gradient before the step."
import torch


def careful(model, batches, lr=0.01):
    params = list(model.parameters())
    adam = torch.optim.AdamW(params, lr=lr)
    for x in batches:
        adam.zero_grad()
        model(x).pow(2).mean().backward()
        if not all(p.grad.isfinite().all() for p in params): return "stopped"
        adam.step()
    return "done"
