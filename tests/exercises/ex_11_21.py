"Each wait from the one before it, so that no power is taken."


def delays(tries, base, rng):
    out, wait = [], base
    for _ in range(tries):
        out.append(min(wait, 30)*(1 + rng.random())/2)
        wait = min(2*wait, 30)
    return out
