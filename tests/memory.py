"How much memory a call takes at its worst moment, read from the Linux kernel's high-water mark."
import ctypes
import gc
import os
import subprocess
import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def held(key="VmRSS"):
    "MB (2**20) from the process's status: VmRSS is held now, VmHWM was at most since the last reset."
    return next(int(line.split()[1])/1024 for line in STATUS.read_text().splitlines() if line.startswith(key + ":"))


def can_measure():
    "Whether this system keeps a high-water mark that a process may reset."
    try: CLEAR.write_text("5")
    except OSError: return False
    return STATUS.exists()


def peak_of(fn):
    "MB that `fn` takes at its peak above what was held before it."
    gc.collect()
    try: ctypes.CDLL("libc.so.6").malloc_trim(0)      # what was freed before must not count as held
    except OSError: pass
    CLEAR.write_text("5")
    before = held()
    fn()
    return held("VmHWM") - before


def in_fresh_process(code, **env):
    "Run Python code in a new interpreter that can import the tests' helpers; returns what it prints."
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path} | env)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
