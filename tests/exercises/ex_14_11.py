"Exercise 14.11, solved with a weighted geometric mean."
import math


def joint(parts):
    tokens = sum(n for _, n in parts)
    return math.prod(p**(n/tokens) for p, n in parts)
