"Exercise 6.31, solved line by line."
from ftlib.prosody import count_syllables, text_lines


def metre_kept(text, n=10):
    lines = text_lines(text)
    return sum(1 for line in lines if count_syllables(line) == n)/len(lines) if lines else 0.
