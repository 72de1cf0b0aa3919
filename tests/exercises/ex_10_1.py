"Exercise 10.1, solved by weighing each row's mean with its tokens."
import math


def perplexity(nats, tokens):
    weights = tokens/tokens.sum()
    return math.exp((weights*nats/tokens).sum().item())
