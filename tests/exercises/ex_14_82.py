"Exercise 14.82, solved with a counter, which keeps the order of first appearance."
from collections import Counter


def vote(answers):
    votes = Counter(a for a in answers if a is not None).most_common(1)
    return votes[0][0] if votes else None
