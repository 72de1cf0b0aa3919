"Exercise 11.13, solved by asking again in turn."
def retried(reward, times):
    def asked(completions, row):
        if times < 1: return [None for _ in completions]
        try: return reward(completions, row)
        except Exception: return retried(reward, times - 1)(completions, row)
    return asked
