"""The largest differences that the parity tests saw: `python benchmarks/parity.py` runs them in one process and writes results/parity.json.

A test's largest difference is |ours - theirs| / max(1, largest |theirs|) over all it compares: logits, loss, every gradient.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from common import HERE, machine, save

MODELS = ("gpt2_ours", "gpt2_hf", "llama_hf", "qwen2_hf")


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/"parity.json"
        command = ["pytest", "-n", "0", "-q", "tests/parity"]
        done = subprocess.run([sys.executable, "-m", *command], cwd=HERE.parent, env=os.environ | {"PARITY_JSON": str(path)})
        if done.returncode: sys.exit("a parity test failed; nothing is written")
        rows = json.loads(path.read_text())
    found = {}
    for row in rows:
        subject = re.search(r"test_(\w+)\.py", row["test"])[1]
        model = next((m for m in MODELS if m in row["test"]), "")
        kept = found.setdefault((subject, model, row["tolerance"]), {"tests": 0, "numbers": 0, "largest": 0.0, "test": ""})
        kept["tests"] += 1
        kept["numbers"] += row["numbers"]
        if row["largest"] >= kept["largest"]: kept["largest"], kept["test"] = row["largest"], row["test"].split("::")[1]
    save("parity", {"command": "python benchmarks/parity.py", "machine": machine(), "peers": {p: version(p) for p in ("transformers", "peft", "pyreft", "trl")},
                    "rows": [{"subject": s, "model": m, "tolerance": t} | kept for (s, m, t), kept in sorted(found.items())]})


if __name__ == "__main__": main()
