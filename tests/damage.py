"Files that are damaged on purpose, and the two things a reader may do with one: give right rows, or refuse it in one sentence."
import re
import warnings

from hypothesis import strategies as st

from ftlib.data import DataError


def damages(pieces, longest=12, **sizes):
    "Places in a file, bytes that are cut out there, and what is put in their stead."
    return st.lists(st.tuples(st.floats(0, 1), st.integers(0, longest), st.sampled_from(pieces)), **{"max_size": 3} | sizes)


def damaged(data, damage):
    "The bytes of a file after some damage."
    for where, length, piece in damage:
        at = int(where*len(data))
        data = data[:at] + piece + data[at + length:]
    return data


def rows_or_none(read, path, places):
    "The rows, or None for a file that is refused in one sentence that names it and the place, as the pattern `places` says."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try: return list(read(path))
        except DataError as error: said = str(error)
    assert re.match(re.escape(str(path)) + places, said) and "\n" not in said, said
    return None
