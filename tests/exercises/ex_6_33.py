"Exercise 6.33, solved with the dictionary's parts and an expression of its own."
import re

from ftlib.prosody import rhyme_parts, spoken

TAIL = re.compile(r"[aeiouy]+[^aeiouy]*(?<=[^aeiouy])e$|[aeiouy]+[^aeiouy]*$")


def eye_rhyme(a, b):
    words = [spoken(text)[-1:] for text in (a, b)]
    if not all(words) or words[0] == words[1]: return False
    (a,), (b,) = words
    heard = rhyme_parts(a) & rhyme_parts(b)
    tails = [m[0] if (m := TAIL.search(word)) else word for word in (a, b)]
    return tails[0] == tails[1] and bool(rhyme_parts(a)) and bool(rhyme_parts(b)) and not heard
