"Exercise 14.13, solved on the joined text."
import math


def bits_per_byte(nats, texts):
    return math.fsum(nats)/math.log(2)/len("".join(texts).encode("utf-8"))
