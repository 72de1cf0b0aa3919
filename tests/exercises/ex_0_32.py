import re

from ftlib.rewards import verdict_of

SIGNS = {"as the claim says": "SUPPORTS", "and not": "REFUTES", "There is no word": "NOT ENOUGH INFO"}


def consistent(text):
    announced = {SIGNS[found] for found in re.findall("|".join(SIGNS), text)}
    if not announced: return None
    return len(announced) == 1 and verdict_of(text) in announced
