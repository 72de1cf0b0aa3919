"Exercise preferences.2, solved with scipy's binomial test on what is not a tie."
from scipy.stats import binomtest


def sign_counts(a, b):
    told = [x > y for x, y in zip(a, b) if x != y]
    wins = sum(told)
    return wins, len(told) - wins, float(binomtest(wins, len(told)).pvalue) if told else 1.0
