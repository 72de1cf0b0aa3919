def distinct_answers(groups):
    within, everywhere = 0, set()
    for group in groups:
        answers = {answer for answer in group if answer is not None}
        within += len(answers)
        everywhere |= answers
    return within/len(groups), len(everywhere)/len(groups)
