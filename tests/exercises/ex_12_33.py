"Exercise 12.33, solved pair by pair."


def leaks(seen, text):
    text, found = text.tolist(), 0
    for i, j in seen.nonzero().tolist():
        found += text[i] > 1 and text[j] > 1 and text[i] != text[j]
    return found
