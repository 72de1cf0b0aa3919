"Exercise 12.3, solved with the score function: the log-ratio as a number, times the log-prob."
def pull(logps, ref_logps, mask):
    said, reference = (logps*mask).sum(1), (ref_logps*mask).sum(1)
    return (said - reference).detach()*said
