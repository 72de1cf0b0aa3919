from ftlib.prosody import spoken
from ftlib.writing import SCHEME


def identical(lines):
    same, all_pairs = 0, 0
    for i, a in enumerate(lines[:14]):
        for j in range(i + 1, min(14, len(lines))):
            if SCHEME[i] != SCHEME[j]: continue
            all_pairs += 1
            same += spoken(a)[-1:] == spoken(lines[j])[-1:]
    return same/all_pairs if all_pairs else 0
