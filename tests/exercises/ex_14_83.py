"Exercise 14.83, solved as a mean weighted with lengths."


def kl_token(nats, tokens):
    weights = tokens/tokens.sum()
    return ((nats/tokens)*weights).sum().item()
