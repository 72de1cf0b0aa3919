def is_clear(result):
    if result["interval"] is None: return False
    low, high = result["interval"]
    return result["before"] < low or high < result["before"]


def clear(results): return list(filter(is_clear, results))
