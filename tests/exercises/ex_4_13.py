"Parametrised weights are found by the name PyTorch gives them."


def may_decay(model):
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    return [n for n, p in trained.items() if p.dim() >= 2 and "parametrizations" not in n.split(".")]
