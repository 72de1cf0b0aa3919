"Exercise 6.4, solved row by row with a dictionary."
STEP = {"pants-fire": 0, "false": 1, "barely-true": 2, "half-true": 3, "mostly-true": 4, "true": 5}


def distance(y_true, y_pred, names):
    steps = [abs(STEP[names[t]] - STEP[names[p]]) for t, p in zip(y_true, y_pred)]
    return sum(steps)/len(steps)
