import numpy as np


def suspects(columns, labels, jump=.1):
    names, y = np.unique(labels, return_inverse=True)
    usual, n = np.bincount(y).argmax(), len(y)
    found = []
    for name, values in columns.items():
        _, v = np.unique(values, return_inverse=True)
        votes = np.zeros((v.max() + 1, len(names)), int)
        np.add.at(votes, (v, y), 1)
        others = votes[v] - np.eye(len(names), dtype=int)[y]              # (n, labels) without the row's own vote
        top = others.max(1, keepdims=True)
        clear = ((others == top).sum(1) == 1) & (top[:, 0] > 0)
        said = np.where(clear, others.argmax(1), usual)
        if (said == y).mean() > np.bincount(y).max()/n + jump: found.append(name)
    return found
