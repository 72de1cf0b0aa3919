from collections import defaultdict


def consistent(facts):
    values = defaultdict(set)
    for who, key, value in facts: values[who, key].add(value)
    return max(map(len, values.values()), default=1) == 1
