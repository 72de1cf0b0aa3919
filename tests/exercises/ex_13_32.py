"Exercise 13.32, solved by counting the votes that one reply gets in the two orders."


def fair(judge):
    def score(prompt, one, two):
        votes = 0
        for first, second in ((one, two), (two, one)):
            better = first if judge(prompt, first, second) else second
            votes += better is one
        return votes/2
    return score
