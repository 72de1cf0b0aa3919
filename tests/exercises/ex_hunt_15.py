"The settings inside the tensors' own file, as its metadata: one file, which cannot lose its other half."
import json
from pathlib import Path

import torch
from ftlib.interventions import ACTS, DiReFT, LoReFT
from safetensors import safe_open
from safetensors.torch import save_file

KINDS = {"LoReFT": LoReFT, "DiReFT": DiReFT}
DTYPES = {str(t): t for t in (torch.float64, torch.float32, torch.bfloat16, torch.float16)}


def save(edit, folder):
    names = {f: name for name, f in ACTS.items()}
    given = {"args": [*edit.R.shape, edit.dropout, names[edit.act]], "kind": edit.__class__.__name__, "dtype": str(edit.dtype)}
    Path(folder).mkdir(exist_ok=True)
    save_file({k: x.contiguous() for k, x in edit.state_dict().items()}, Path(folder)/"edit.safetensors", metadata={"edit": json.dumps(given)})


def load(folder):
    with safe_open(Path(folder)/"edit.safetensors", "pt") as f:
        given, tensors = json.loads(f.metadata()["edit"]), {k: f.get_tensor(k) for k in f.keys()}
    edit = KINDS[given["kind"]](*given["args"]).to(DTYPES[given["dtype"]])
    edit.load_state_dict(tensors)
    return edit


folders = save, load
