"Exercise 10.2, solved with running totals."
def accumulated(sums, counts):
    loss = tokens = 0
    for s, n in zip(sums, counts): loss, tokens = loss + s, tokens + n
    return loss/tokens
