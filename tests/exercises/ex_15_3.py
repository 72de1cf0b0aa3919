from math import log2, e


def bits_per_byte(nats, text): return nats*log2(e)/len(bytes(text, "utf-8"))
