import json


def parse(text):
    out = {}
    for word in text.split():
        name, _, value = word.partition("=")
        try: out[name] = json.loads(value)
        except ValueError: out[name] = value
    return out
