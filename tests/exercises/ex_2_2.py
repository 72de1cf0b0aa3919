"Assign through the modules, the tied parameter once for both."
from torch import nn


def load_into(model, state):
    for name, module in model.named_modules():
        for key in [k for k, p in module._parameters.items() if p is not None]:
            setattr(module, key, nn.Parameter(state[f"{name}.{key}"]))
    if model.config.tie_word_embeddings: model.transformer.wte.weight = model.lm_head.weight
    return model
