from dataclasses import dataclass

from ftlib.experiments import Settings


@dataclass(kw_only=True)
class Watched(Settings):
    "What is assigned is tried on a whole new object first, which knows its own names and checks them."
    def __setattr__(self, name, value):
        tried = Settings(**{name: value})
        object.__setattr__(self, name, vars(tried)[name])
