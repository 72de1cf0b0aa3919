"Exercise 14.12, solved by counting."
def share_right(said, gold):
    return [a is not None and a == b for a, b in zip(said, gold)].count(True)/len(gold)
