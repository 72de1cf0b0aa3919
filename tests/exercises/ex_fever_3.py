import numpy as np


def telling_words(claims, labels, label, k):
    sets = [set(claim.lower().split()) for claim in claims]
    words = sorted(set().union(*sets))
    there = np.array([[w in s for w in words] for s in sets], float)        # (claims, words)
    mine = there[[l == label for l in labels]].sum(0)
    share, n = mine.sum()/there.sum(), there.sum()
    with np.errstate(divide="ignore", invalid="ignore"): lmi = mine/n*np.log(mine/there.sum(0)/share)
    return [words[i] for i in np.argsort(-np.nan_to_num(lmi), kind="stable")[:k]]
