import random


def shuffled(rows, seed):
    rng, out = random.Random(f"rows {seed}"), list(rows)
    for i in range(len(out) - 1, 0, -1):
        j = rng.randrange(i + 1)
        out[i], out[j] = out[j], out[i]
    return out
