import re


def told_as(prompt, rating):
    return re.sub(r"(?<=\nRated )[^\n]*(?=, because:\n\Z)", rating, prompt)
