"A mask with a single 1 a row, at the last real token."
from ftlib.logps import hidden_states


def text_vectors(model, ids, mask):
    real = mask.bool()
    behind = real.flip(1).cumsum(1).flip(1)             # how many real tokens stand from here to the end
    chosen = real & (behind == 1)
    return hidden_states(model, ids, mask)[chosen]
