def safest_answer(labels, k):
    "Half of the labels lie at or below a lower median; moving on from it is farther for at least as many as it is nearer."
    return sorted(labels)[(len(labels) - 1)//2]
