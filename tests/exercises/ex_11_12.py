"Exercise 11.12, solved by counting."
from collections import Counter


def novel(completions, row):
    keys = [tuple(text.casefold().split()) for text in completions]
    counts = Counter(keys)
    return [1.0/counts[key] for key in keys]
