def error_removed(before, after):
    wrong_before, wrong_after = 1 - before, 1 - after
    return 1 - wrong_after/wrong_before if wrong_before else 0
