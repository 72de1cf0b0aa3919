def rate(seconds, n):
    return max(2e-9*n**3/s for s in seconds[1:])
