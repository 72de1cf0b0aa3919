def stop_at(steps, nats, patience):
    lowest, at, bad = float("inf"), steps[0], 0
    for step, value in zip(steps, nats):
        if value < lowest: lowest, at, bad = value, step, 0
        else: bad += 1
        if bad >= patience: return at
    return at
