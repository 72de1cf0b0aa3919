from math import log2, e


def bits_per_byte(nats, tokens, text):
    return nats*tokens*log2(e)/len(bytes(text, "utf-8"))
