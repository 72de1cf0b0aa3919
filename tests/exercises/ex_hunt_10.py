"Names, but those that PyTorch itself gives to parametrised tensors, and dimensions for the rest."
import torch


def make_optimizer(model, lr=1e-3, weight_decay=0.01):
    def decays(name, p): return p.dim() >= 2 and "parametrizations" not in name.split(".")
    groups = [{"params": [p], "weight_decay": weight_decay if decays(name, p) else 0.0}
              for name, p in model.named_parameters() if p.requires_grad]
    return torch.optim.AdamW(groups, lr=lr)
