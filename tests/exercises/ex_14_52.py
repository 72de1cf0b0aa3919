def rows_needed(differ, wins):
    n = 1
    while differ*(2*wins - 1)*n**.5 < 2.8*differ**.5 - 1e-9: n += 1
    return n
