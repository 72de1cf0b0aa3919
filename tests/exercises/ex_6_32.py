"Exercise 6.32, solved with the bits of one number: bit t is set if the line so far can have t syllables."
from ftlib.prosody import by_rule, pronunciations, spoken


def fits(line, n):
    reach = 1
    for word in spoken(line):
        counts = {sum(c in "012" for c in phones) for phones in pronunciations(word)} or {by_rule(word)}
        shifted = 0
        for c in counts: shifted |= reach << c
        reach = shifted
    return bool(reach >> n & 1)
