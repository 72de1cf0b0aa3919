from collections import Counter


def worst_recall(said, answers):
    hits, there = Counter(a for s, a in zip(said, answers) if s == a), Counter(answers)
    return min(hits[label]/n for label, n in there.items())
