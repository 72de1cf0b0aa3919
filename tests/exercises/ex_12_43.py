"Exercise 12.43, solved with a hash."
from hashlib import sha256


def luck(seed, epoch, position, row):
    return int.from_bytes(sha256(repr((seed, epoch, position, row)).encode()).digest()[:6], "big")
