"Exercise preferences.1, solved by counting moves between the four scores."
from collections import Counter


def where_won(before, after):
    moves, n = Counter(zip(before, after)), len(before)
    share = lambda ok: sum(count for (b, a), count in moves.items() if ok(b, a))/n
    return {"to right": share(lambda b, a: b in (0, 1) and a in (2, 3)), "form": share(lambda b, a: (b, a) == (2, 3)),
            "to wrong": share(lambda b, a: b in (2, 3) and a in (0, 1))}
