from collections import Counter


def baseline(train, test):
    counts = Counter(train)
    top = max(counts.values())
    says = sorted(label for label, count in counts.items() if count == top)[0]
    return sum(label == says for label in test)/len(test)
