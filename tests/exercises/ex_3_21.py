"Exercise 3.21, solved by counting the padding of each row."


def waste(lengths, batch_size):
    padding = cells = 0
    for i, n in enumerate(lengths):
        start = i - i % batch_size
        widest = max(lengths[start:start + batch_size])
        padding, cells = padding + widest - n, cells + widest
    return padding/cells
