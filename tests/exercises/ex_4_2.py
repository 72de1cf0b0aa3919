def next_positions(mask, s):
    positions = mask.long().cumsum(1)            # counted from 1, so the last column is what comes next
    return positions[:, -1:] + s
