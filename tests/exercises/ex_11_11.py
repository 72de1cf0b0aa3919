"Exercise 11.11, solved with a loop."
def only_right(reward, base):
    def paid(completions, row):
        values = reward(completions, row)
        for i, right in enumerate(base(completions, row)):
            if right <= 0: values[i] = 0.0
        return values
    return paid
