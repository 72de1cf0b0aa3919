"Every notebook runs from top to bottom on a CPU, on the embedded data, with nbdev's own runner; its flagged cells (cuda, slow) are skipped."
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sources import NBS, notebooks, short

LIMIT = float(os.environ.get("NOTEBOOK_SECONDS", 600))      # a notebook should take 60 on two cores; a slower or busier machine is no failure
RUNNER = Path(sys.executable).parent/"nbdev-test"


def environment():
    "The reader's environment without a GPU, a profile, a key or a network."
    hidden = ("FTLIB_PROFILE", "WANDB_API_KEY", "HF_TOKEN", "NVIDIA_API_KEY", "HF_ENDPOINT")
    env = {k: v for k, v in os.environ.items() if k not in hidden}
    return env | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "MPLBACKEND": "agg"}


@pytest.mark.parametrize("nb", notebooks(), ids=short)
def test_notebook_runs(nb):
    before, started = nb.read_bytes(), time.time()
    done = subprocess.run([RUNNER, nb, "--n-workers", "0"], cwd=NBS.parent, env=environment(), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, f"{short(nb)} failed after {time.time() - started:.0f} s:\n{done.stderr[-4000:]}"
    assert "Success" in done.stdout, f"{short(nb)} was not run:\n{done.stdout[-1000:]}"
    assert nb.read_bytes() == before, "running a notebook must not change it"
