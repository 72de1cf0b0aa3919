"By taking names apart instead of matching their ends."


def to_names(state):
    out = {}
    for name, tensor in state.items():
        parts = [p for p in name.split(".") if p != "transformer"]
        if parts[-2] == "attn" and parts[-1] in ("bias", "masked_bias"): continue
        out[".".join(parts if parts[0] == "lm_head" else ["transformer", *parts])] = tensor
    return out
