from itertools import combinations


def both():
    def separated(a, b): return all(x > y for x in a for y in b) or all(x < y for x in a for y in b)
    def separated_by_chance():
        deals = list(combinations(range(6), 3))
        return sum(separated(deal, set(range(6)) - set(deal)) for deal in deals)/len(deals)
    return separated, separated_by_chance
