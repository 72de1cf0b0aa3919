"From the shape of one layer's entry: (rows, tokens, keys and values, heads, head width)."
from math import prod


def cache_bytes(config, tokens, rows=1, bytes_each=4):
    return config.n_layer*prod((rows, tokens, 2, config.n_head, config.n_embd//config.n_head))*bytes_each
