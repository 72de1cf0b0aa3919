def uphill(advantages, before, after):
    moves = [(a, y - x) for a, x, y in zip(advantages.tolist(), before.tolist(), after.tolist()) if a]
    return sum(a*move > 0 for a, move in moves)/len(moves) if moves else float("nan")
