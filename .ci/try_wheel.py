"Use an installed wheel from an empty folder as a newcomer would; `.ci/run` calls it with the folder the wheel lies in."
import subprocess
import sys
from pathlib import Path

import ftlib
from ftlib.settings import resource

site = Path(sys.argv[1]).resolve()
tiny = resource("tiny")
assert Path(ftlib.__file__).resolve().is_relative_to(site), f"took ftlib from {ftlib.__file__}"
for part in ("model/model.safetensors", "model/tokenizer.json", "liar/train.tsv", "fever/train.jsonl"):
    assert (tiny/part).resolve().is_relative_to(site), f"took {part} from {tiny}"
    assert (tiny/part).is_file(), f"the wheel lacks {part}"
assert resource("settings.ini").resolve().is_relative_to(site)


def ftlib_says(*args):
    "What the command line prints; a failure ends the check."
    code = "import sys; from ftlib.cli import main; sys.argv[0] = 'ftlib'; main()"
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"ftlib {' '.join(args)} gave {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


assert "train" in ftlib_says("--help")
assert "fever" in ftlib_says("tasks")
ftlib_says("train", "classify", "fever", "--out", "run", "--set", "max_steps=2")
assert "accuracy" in ftlib_says("eval", "run").lower()
print(f"ftlib {ftlib.__version__} works from its wheel")
