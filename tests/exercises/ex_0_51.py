from functools import partial


def callbacks(draw, values): return [partial(draw, window=value) for value in values]
