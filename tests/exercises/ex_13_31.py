"Exercise 13.31, solved as the inverse of tanh: sigma(x) = (1 + tanh(x/2))/2."
import math


def elo_gap(rate):
    return 2*math.atanh(2*rate - 1)
