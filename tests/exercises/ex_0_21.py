import re


def sums_hold(text):
    steps, _, last = text.partition("####")
    results = []
    for expression in re.findall(r"\d+[+*-]\d+=\d+", steps):
        left, said = expression.split("=")
        a, sign, b = re.split(r"([+*-])", left)
        results.append(int(said))
        if {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a)*int(b)}[sign] != int(said): return False
    return bool(results) and last.strip() == str(results[-1])
