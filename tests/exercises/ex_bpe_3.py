"Looks for the special tokens by hand, without a regular expression."


def split_specials(text, specials):
    parts, plain, i = [], "", 0
    while i < len(text):
        found = max((s for s in specials if text.startswith(s, i)), key=len, default="")
        if found:
            if plain: parts.append((plain, False))
            parts.append((found, True))
            plain = ""
        else: plain += text[i]
        i += len(found) or 1
    return parts + [(plain, False)]*bool(plain)
