def comparable(lines):
    most = 0
    for line in lines: most = max(most, line["n"])
    return list(filter(lambda line: line["n"] >= most, lines))
