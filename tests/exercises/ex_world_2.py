import random


def split_names(names, share, seed):
    names = sorted(set(names))
    held = sorted(random.Random(seed).sample(names, round(share*len(names))))
    return [name for name in names if name not in held], held
