import re


def memorised(poem, training):
    def plain(text): return [" ".join(re.findall(r"[\w'-]+", line.lower())) for line in text.splitlines()]
    known = set(plain("\n".join(training)))
    lines = [line for line in plain(poem) if line]
    return len([line for line in lines if line in known])/len(lines)
