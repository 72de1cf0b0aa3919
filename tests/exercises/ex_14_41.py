def best_and_ties(scores):
    ranked = sorted(((v, name) for name, (v, _, _) in scores.items()), reverse=True)
    lowest = scores[ranked[0][1]][1]
    return [name for _, name in ranked if not scores[name][2] < lowest]
