from ftlib.reft import parse_positions


def reft_size(d, r, layers, positions, tied):
    one = r*d + r*d + r
    return one*layers if tied or not all(parse_positions(positions)) else 2*one*layers
