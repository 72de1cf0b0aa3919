"Exercise 13.1, solved by counting the tokens of both layouts."


def saved(prompt, chosen, rejected):
    apart, shared = (prompt + chosen) + (prompt + rejected), prompt + chosen + rejected
    return (apart - shared)/apart
