def trained(model):
    seen = {}
    for module in model.modules():
        for p in module.parameters(recurse=False):
            if p.requires_grad: seen[id(p)] = p
    return list(seen.values())
