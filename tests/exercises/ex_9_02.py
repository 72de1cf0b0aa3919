from torch.nn.utils.parametrize import ParametrizationList


def groups(model, decay):
    bent = [p for m in model.modules() if isinstance(m, ParametrizationList) for p in m.parameters()]
    rest = [p for p in model.parameters() if not any(p is q for q in bent)]
    return [{"params": rest, "weight_decay": decay}, {"params": bent, "weight_decay": 0.0}]
