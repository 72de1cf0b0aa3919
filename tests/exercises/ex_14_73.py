"Exercise 14.73, solved row by row."


def decided(wins, ties, losses):
    rows = [1]*wins + [None]*ties + [0]*losses
    clear = [x for x in rows if x is not None]
    return len(clear)/len(rows), sum(clear)/len(clear) if clear else 0.5
