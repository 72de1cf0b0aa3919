import re


def marked(rows):
    out = []
    for row in rows:
        parts = [re.sub(r"(\S+)", prefix + r"\1", " ".join((row[key] or "").lower().split())) for prefix, key in (("a_", "text"), ("b_", "text_pair"))]
        out.append(" ".join(part for part in parts if part))
    return out
