"Exercise reference.2, solved with a loop over answers."
import numpy as np


def least_cost(probs, cost):
    expected = [sum(probs[:, truth]*cost[truth, said] for truth in range(len(cost))) for said in range(len(cost))]
    return np.argmin(expected, axis=0)
