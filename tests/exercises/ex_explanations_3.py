def sound(verdict_seen, details_wrong):
    pairs = [(bool(seen), wrong > 0) for seen, wrong in zip(verdict_seen, details_wrong)]
    among = [wrong for seen, wrong in pairs if seen]
    right = sum(seen and not wrong for seen, wrong in pairs)/len(pairs)
    return right, sum(among)/len(among) if among else None
