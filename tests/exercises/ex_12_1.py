"Exercise 12.1, solved with a plain loop over the siblings."
def advantages(rewards, prompts):
    out = rewards.clone()
    for i in range(len(rewards)):
        siblings = [rewards[j] for j in range(len(rewards)) if j != i and prompts[j] == prompts[i]]
        out[i] = rewards[i] - sum(siblings)/len(siblings) if siblings else 0.0
    return out
