def lora_size(r, n_in, n_out, slices=None):
    blocks = [n_out] if slices is None else [n_out//3]*len(slices)
    return sum(r*n_in + r*n for n in blocks)
