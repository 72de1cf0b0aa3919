import random


def swap_evidence(rows, seed=0):
    "Each row hands its evidence on along one random circle (Sattolo's shuffle): a circle has no fixed point."
    rng, order = random.Random(seed), list(range(len(rows)))
    for i in range(len(order) - 1, 0, -1):
        j = rng.randrange(i)
        order[i], order[j] = order[j], order[i]
    old = rows["text_pair"]
    return rows.remove_columns("text_pair").add_column("text_pair", [old[i] for i in order])
