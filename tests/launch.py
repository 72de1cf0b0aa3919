"Trainings that run in two processes, and trainings that are stopped by hand."
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

TESTS = Path(__file__).resolve().parent


def in_two_processes(script, out):
    "Run `script out` twice at a time, as torchrun does."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "GLOO_SOCKET_IFNAME": "lo"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port]
    done = subprocess.run([*launcher, str(script), str(out)], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def result(out):
    "(weights, rows of the history without their seconds) of a run's folder."
    rows = [json.loads(line) for line in (out/"metrics.jsonl").read_text().splitlines()]
    return load_file(out/"checkpoint"/"model.safetensors"), [{k: v for k, v in r.items() if k != "seconds"} for r in rows]


def stops_at(make, n):
    "`make`, a maker of steps, whose steps raise KeyboardInterrupt at the n-th call."
    calls = []
    def stops(*args, **kw):
        step = make(*args, **kw)
        def stopping(model, batch):
            calls.append(1)
            if len(calls) == n: raise KeyboardInterrupt
            return step(model, batch)
        return stopping
    return stops
