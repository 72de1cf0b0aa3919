"Exercise 12.42, solved group by group."


def no_signal(rewards, kl, beta):
    tied = [len({round(x, 5) for x in group if x == x}) < 2 for group in rewards.tolist()]
    return sum(tied)/len(tied)
