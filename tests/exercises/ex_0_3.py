import json
from dataclasses import fields


def save_and_load(config, extra={}):
    names = [f.name for f in fields(config)]
    read = json.loads(json.dumps({**{n: getattr(config, n) for n in names}, **extra}))
    if strange := set(read) - set(names): raise ValueError(f"unknown: {sorted(strange)}")
    return type(config)(*(read[n] for n in names))
