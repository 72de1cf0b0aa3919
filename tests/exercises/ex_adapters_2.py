from itertools import combinations


def by_chance(n):
    deals = [set(deal) for deal in combinations(range(2*n), n)]
    apart = [max(deal) == n - 1 or min(deal) == n for deal in deals]
    return sum(apart)/len(deals)
