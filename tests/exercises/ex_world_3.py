from collections import Counter
from fractions import Fraction


def balanced(cases):
    rows, hits = Counter(), Counter()
    for claim, evidence, label in cases:
        rows[label] += 1
        hits[label] += Counter(value for _, _, value in evidence)[claim[2]]
    return len({Fraction(hits[label], n) for label, n in rows.items()}) <= 1
