"With what is left of the patience."
from email.utils import parsedate_to_datetime
from time import time


def seconds(answer, tried):
    if answer and answer.isdigit(): return int(answer)
    try: return max(0, parsedate_to_datetime(answer).timestamp() - time())
    except (TypeError, ValueError): return 1 << tried


def waits(answers, patience):
    out = []
    while answers and (wait := seconds(answers[0], len(out))) <= patience:
        out, answers, patience = out + [wait], answers[1:], patience - wait
    return out
