"Exercise propaganda.1, solved by answering with the commonest label of rows that look the same."
from statistics import mode


def ceiling(seen, labels):
    alike = lambda what: [label for w, label in zip(seen, labels) if w == what]
    best = {what: mode(alike(what)) for what in set(seen)}
    return sum(best[what] == label for what, label in zip(seen, labels))/len(seen)
