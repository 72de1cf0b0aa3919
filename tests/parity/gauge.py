"""How far ours and theirs may be apart, and how far they were: each test's largest difference is kept, for the table of parity.

`PARITY_JSON=file pytest -n 0 tests/parity` writes what was kept; benchmarks/parity.py does that.
"""
import json
import os

import torch

SEEN = {}                     # test, as pytest names it -> [largest difference, numbers compared, tolerance]


def gap(ours, theirs):
    "(largest difference in units of max(1, largest reference value), how many numbers were compared) of tensors or plain numbers."
    ours, theirs = (x.detach() if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64) for x in (ours, theirs))
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return ((ours - theirs).abs().max()/theirs.abs().max().clamp(min=1)).item(), theirs.numel()


def gaps(ours, theirs, where=""):
    "The gaps of all that the reference holds: a loss, gradients by name, curves by name."
    if isinstance(theirs, dict):
        if any(isinstance(x, torch.Tensor) for x in theirs.values()): assert ours.keys() == theirs.keys()      # no gradient more, none less
        for name in theirs: yield from gaps(ours[name], theirs[name], name)
    elif isinstance(theirs, (tuple, list)):
        for a, b in zip(ours, theirs): yield from gaps(a, b, where)
    else: yield where, *gap(ours, theirs)


def close(ours, theirs, tolerance=1e-5):
    "All of it agrees within tolerance · max(1, largest reference value)."
    found = list(gaps(ours, theirs))
    assert not (off := {where: error for where, error, _ in found if not error <= tolerance}), off
    test = os.environ["PYTEST_CURRENT_TEST"].rsplit(" ", 1)[0]
    worst, n, _ = SEEN.get((test, tolerance), (0.0, 0, tolerance))
    SEEN[test, tolerance] = max([worst, *(error for _, error, _ in found)]), n + sum(count for *_, count in found), tolerance


def write(path):
    "What was kept, a row for each test and tolerance."
    rows = [{"test": test, "largest": worst, "numbers": n, "tolerance": tolerance} for (test, _), (worst, n, tolerance) in sorted(SEEN.items())]
    with open(path, "w", encoding="utf-8") as file: json.dump(rows, file, indent=1)
