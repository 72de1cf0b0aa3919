from itertools import combinations
from ftlib.prosody import rhyming


def by_chance(lines):
    found = [rhyming(a, b) for a, b in combinations(lines, 2)]
    return sum(found)/len(found) if found else 0
