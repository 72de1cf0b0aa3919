from dataclasses import asdict


def as_options(settings):
    plain = type(settings)(experiment=settings.experiment, profile=settings.profile)
    both = zip(asdict(settings).items(), asdict(plain).values())
    return ["=".join((name, value if isinstance(value, str) else repr(value))) for (name, value), default in both if value != default]
