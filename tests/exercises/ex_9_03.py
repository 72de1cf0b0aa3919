def last_positions(mask, n):
    rank = mask.cumsum(1) - 1
    return (rank >= mask.sum(1, keepdim=True) - n) & mask.bool()
