def break_even(p_hasty, n_hasty, p_steps, n_steps):
    longer, better = n_steps - n_hasty, p_steps - p_hasty
    return better/longer if longer > 0 else float("inf")
