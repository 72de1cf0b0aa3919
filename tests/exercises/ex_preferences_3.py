"Exercise preferences.3, solved by walking along the curve and keeping the best so far."


def overfit_from(curve):
    best = None
    for step, _, accuracy in curve:
        if best is None or accuracy > best[1]: best = step, accuracy
    return best[0]
