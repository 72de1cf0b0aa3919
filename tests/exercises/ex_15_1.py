def embedded_size(n):
    groups, rest = divmod(n, 3)
    return 4*(groups + bool(rest))
