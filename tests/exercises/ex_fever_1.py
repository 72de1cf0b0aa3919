def evidence_gain(alone, both):
    gained = sum(b - a for a, b in zip(alone, both))
    open_rows = sum(1 - a for a in alone)
    return gained/open_rows if open_rows else 0
