"Exercise 13.13, solved by the odds of both label directions."
import math


def resting_margin(p, kind, e=0.0, beta=0.1):
    if kind == "ipo": return p - 0.5
    mix = {"sigmoid": 0.0, "cdpo": e, "robust": -e/(1 - 2*e)}[kind]      # how much of the other label is mixed in
    up, down = p*(1 - mix) + (1 - p)*mix, p*mix + (1 - p)*(1 - mix)
    if down <= 0: return math.inf
    return math.log(up/down) if up > 0 else -math.inf
