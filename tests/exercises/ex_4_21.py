"Make the whole text first; write it under another name; rename."
import json
import os
import tempfile


def dump(value, path):
    text = json.dumps(value)
    handle, name = tempfile.mkstemp(dir=os.path.dirname(path))
    with os.fdopen(handle, "w") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(name, path)
