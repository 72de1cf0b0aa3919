"Exercise 7.3, solved by carrying row numbers along and sorting by them."


def in_order(score, rows):
    found = []
    for n in {len(row) for row in rows}:
        numbered = [(i, row) for i, row in enumerate(rows) if len(row) == n]
        found += zip((i for i, _ in numbered), score([row for _, row in numbered]))
    return [answer for _, answer in sorted(found, key=lambda pair: pair[0])]
