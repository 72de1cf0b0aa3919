"Walks over positions and skips the second half of a merged pair."


def merge_string(word, pair):
    out, skip = [], False
    for here, after in zip(word, [*word[1:], None]):
        if skip: skip = False
        elif (here, after) == tuple(pair): out.append(here + after); skip = True
        else: out.append(here)
    return tuple(out)
