"Block by block, so that a call which breaks in the middle loses nothing."


def resume(read, part, total):
    got = bytearray(part)
    while (before := len(got)) < total:
        for block in read(before): got += block
        if len(got) == before: raise ValueError(f"{before} bytes are there and no more come")
    return bytes(got)
