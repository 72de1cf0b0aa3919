def teaching_share(probabilities, k):
    return sum(1 - p**k - (1 - p)**k for p in probabilities)/len(probabilities)
