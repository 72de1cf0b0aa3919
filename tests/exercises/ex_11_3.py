"Exercise 11.3, solved with a set that grows."
def loops(text, n=3):
    words, seen, again = text.split(), set(), 0
    for i in range(len(words) - n + 1):
        gram = " ".join(words[i:i + n])
        again += gram in seen
        seen.add(gram)
    return -again/max(1, len(words) - n + 1)
