from pathlib import PurePosixPath


def short_names(paths):
    k, names = 0, []
    while len(set(names)) < len(set(paths)):
        k += 1
        names = [str(PurePosixPath(*PurePosixPath(path).parts[-k:])) for path in paths]
    return names
