import re


def own_words(said, prompt):
    mine, known = (re.findall(r"\w[\w'-]*\w|\w", text.lower()) for text in (said, prompt))
    new = [w for w in mine if w not in known]
    return len(new)/max(1, len(mine))
