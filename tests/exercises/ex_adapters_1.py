def frontier(points):
    out, best = [], float("-inf")
    by_cost = sorted(points, key=lambda p: (p[1], -p[2]))
    for name, cost, score in by_cost:
        if score > best or out and (cost, score) == last: out.append(name)
        else: continue
        best, last = score, (cost, score)
    return out
