def digits(value, low, high):
    width, d = high - low, 0
    if width <= 0: return 3
    while width*10**d < 10 - 1e-9: d += 1
    return d
