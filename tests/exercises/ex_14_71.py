"Exercise 14.71, solved by weighing each row with one over the size of its group."


def length_controlled(won, longer):
    weights = [1/longer.count(kind) for kind in longer]
    return sum(w*x for w, x in zip(weights, won))/sum(weights)
