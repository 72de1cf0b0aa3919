"By hand: the text first, a file of another name next, the name last."
import json
import os


def save_counts(path, counts):
    text = json.dumps(counts)
    with open(f"{path}.new", "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)
