def saved(model):
    out = {}
    for name, p in model.named_parameters():
        if p.requires_grad: out[name] = p
    return out
