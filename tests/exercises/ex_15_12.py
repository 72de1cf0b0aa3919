def late(results):
    found = [(r["seconds"] - r["share"], name) for name, r in results.items() if r["seconds"] > r["share"]]
    found.sort(reverse=True)
    return [name for _, name in found]
