def parse_set(words):
    for word in words:
        if word.find("=") < 1: raise ValueError(f"expected KEY=VALUE, got {word!r}")
    return {w[:w.index("=")]: w[w.index("=") + 1:] for w in words}
