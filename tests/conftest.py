"""What every test shares: no network, a fair share of the cores, small models, and the real rows where they lie beside the project."""
import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
if str(TESTS) not in sys.path: sys.path.insert(0, str(TESTS))      # so that tests in subfolders find `models` and `hubserver`

# Before torch or the hub client is imported, here and in every subprocess a test starts.
cores, told = min(4, os.cpu_count() or 1), "OMP_NUM_THREADS" in os.environ
os.environ.setdefault("OMP_NUM_THREADS", str(cores))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "agg")
for name in ("FTLIB_PROFILE", "WANDB_API_KEY", "HF_TOKEN", "NVIDIA_API_KEY"): os.environ.pop(name, None)


def pytest_xdist_auto_num_workers(config):
    "A worker for each core, up to four: each holds torch, trl and their models."
    return cores


def pytest_xdist_setupnodes(config, specs):
    "The workers, which get the environment of now, share the cores: two threads each on two cores would wait for one another."
    if not told: os.environ["OMP_NUM_THREADS"] = str(max(1, min(4, (os.cpu_count() or 1)//len(specs))))


@pytest.fixture(scope="session", autouse=True)
def vector_mathematics_is_ready():
    """MKL picks the kernel of each function when it is first called; two threads that call one first may get a coarse one for that call
    (github.com/pytorch/pytorch/issues/188792), and transformers' gelu_new was 2e-5 off in the first test of a run."""
    import torch
    for f in (torch.tanh, torch.exp, torch.log, torch.sqrt, torch.erf, torch.sin, torch.cos, torch.log1p, torch.expm1):
        for dtype in (torch.float32, torch.float64): f(torch.ones(1, dtype=dtype))


@pytest.fixture(scope="session")
def root(): return ROOT


@pytest.fixture(scope="session")
def shared_data():
    "The folder of real rows beside the project; tests that read it are skipped where it is absent."
    folder = ROOT.parent/"shared"/"data"
    if not folder.is_dir(): pytest.skip("the real rows are not here")
    return folder


@pytest.fixture(scope="session")
def tiny_data():
    "data/tiny of the checkout."
    return ROOT/"data"/"tiny"


@pytest.fixture(params=("gpt2_ours", "gpt2_hf", "llama_hf", "qwen2_hf"))
def any_model(request):
    "A small random causal language model, made anew for each test; `any_model.test_name` says which."
    import models
    model = models.build(request.param)
    model.test_name = request.param
    return model


@pytest.fixture
def tiny_models():
    "Small random models by name, made when asked for: tiny_models('llama_hf', n_layer=1)."
    import models
    return models.build

