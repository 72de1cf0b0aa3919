"""The command line as a user meets it: what it prints, what it leaves behind, and its exit codes. Calls go through `main` in this process;
a few start the real program."""
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from ftlib import cli

ROOT = Path(__file__).resolve().parent.parent
QUICK = ["--set", "max_steps=3", "--set", "batch_size=4", "--set", "max_length=48"]


@pytest.fixture
def ftlib(capsys, monkeypatch, tmp_path):
    "ftlib(*words) -> (exit code, stdout, stderr), called from an empty folder."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)      # put back what `main` sets
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["ftlib", *map(str, words)])
        with pytest.raises(SystemExit) as stop: cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err
    return call


@pytest.fixture
def small(tmp_path):
    "A source folder with a few rows of the embedded twins."
    source = tmp_path/"data"
    for task in ("liar", "fever"):
        (source/task).mkdir(parents=True)
        for path in (ROOT/"data"/"tiny"/task).iterdir():
            (source/task/path.name).write_text("".join(path.read_text().splitlines(keepends=True)[:24]))
    return source


def one_sentence(err):
    "The error as a user sees it: one line, no traceback."
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and "Traceback" not in err, err
    return lines[0]


def scores(out):
    "The lines of a table of scores without the baselines' columns: score, this model, n."
    table = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in out.splitlines() if line[:1] in "│┃"]
    column = table[0].index("this model")
    return "\n".join(f"{row[0]}: {row[column]} of {row[-1]}" for row in table[1:])


def test_help_answers_within_a_second_of_work():
    "CPU seconds of the process, which a busy machine does not stretch; nothing heavy may be imported."
    code = "import sys, runpy; sys.argv = ['ftlib', '--help']\ntry: runpy.run_module('ftlib.cli', run_name='x')['main']()\nexcept SystemExit: pass\n" \
           "heavy = {'torch', 'transformers', 'datasets', 'sklearn', 'matplotlib'} & set(sys.modules)\nprint('HEAVY', sorted(heavy))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr
    for command in ("demo", "tasks", "train", "eval", "generate", "compare", "export", "download"): assert command in done.stdout


def test_train_and_eval_print_the_same_numbers(ftlib, small, tmp_path):
    code, trained, err = ftlib("train", "classify", "liar", "--source", small, "--out", tmp_path/"run", *QUICK)
    assert code == 0, err
    assert "always" in trained and "validation" in trained
    assert {"settings.json", "metrics.jsonl", "checkpoint", "report.json", "curves.png", "confusion.png", "scores"} <= {p.name for p in (tmp_path/"run").iterdir()}
    code, scored, err = ftlib("eval", tmp_path/"run")
    assert code == 0, err
    assert scores(scored) == scores(trained)
    for line in scores(scored).splitlines(): assert re.fullmatch(r"[\w -]+: -?[0-9.]+ \[-?[0-9.]+, [0-9.]+\] of 24", line), line
    assert {"accuracy", "macro-F1", "kappa", "ECE"} <= {line.split(":")[0] for line in scores(scored).splitlines()}
    report = json.loads((tmp_path/"run"/"report.json").read_text())
    assert report["split"] == "validation" and report["n"] == 24
    code, tested, _ = ftlib("eval", tmp_path/"run", "--split", "test", "--n", "10")
    assert code == 0 and "test" in tested and "10" in scores(tested)


def test_a_run_is_not_overwritten_and_resumes(ftlib, small, tmp_path):
    words = ["train", "classify", "fever", "--source", small, "--out", tmp_path/"run", *QUICK]
    assert ftlib(*words)[0] == 0
    weights = (tmp_path/"run"/"checkpoint"/"model.safetensors").read_bytes()
    code, _, err = ftlib(*words)
    assert code == 1 and "--resume" in one_sentence(err)
    code, _, err = ftlib(*words, "--resume")
    assert code == 0 and "finished" in err
    code, _, err = ftlib(*words, "--resume", "--set", "lr=0.5")
    assert code == 1 and "lr" in one_sentence(err)
    assert (tmp_path/"run"/"checkpoint"/"model.safetensors").read_bytes() == weights


def test_head_only_trains_the_head_alone(ftlib, small, tmp_path):
    from safetensors.torch import load_file
    assert ftlib("train", "classify", "fever", "--adapter", "head", "--source", small, "--out", tmp_path/"head", *QUICK)[0] == 0
    trained, base = (load_file(p/"model.safetensors") for p in (tmp_path/"head"/"checkpoint", ROOT/"data"/"tiny"/"model"))
    assert all((trained[k].float() == base[k].float()).all() for k in base if k in trained)


@pytest.mark.parametrize("words, code, part", [
    (["train", "classify", "lair"], 2, "did you mean 'liar'"),
    (["train", "clasify", "liar"], 2, "did you mean 'classify'"),
    (["train", "classify", "liar", "--source", "nowhere"], 1, "nowhere"),
    (["train", "classify", "liar", "--set", "learning=1"], 2, "learning"),
    (["train", "classify", "liar", "--set", "lr"], 2, "KEY=VALUE"),
    (["train", "classify", "liar", "--set", "lr=-1"], 1, "lr"),
    (["train", "classify", "liar", "--adapter", "lorra"], 2, "lorra"),
    (["train", "classify", "liar", "--profile", "gpu"], 2, "gpu"),
    (["train", "classify", "liar", "--model", "./no/such/model"], 1, "no/such/model"),
    (["eval", "no/such/run"], 1, "no/such/run"),
    (["eval", "tiny"], 1, "task"),
    (["generate", "tiny", ""], 1, "empty"),
    (["generate", "tiny", "Olga", "--temperature", "-1"], 1, "temperature=-1"),
    (["demo", "--out", "."], 2, "folder"),
])
def test_mistakes_get_one_sentence(ftlib, words, code, part):
    got, _, err = ftlib(*words)
    assert got == code and part in one_sentence(err)


def test_unknown_options_are_wrong_usage(ftlib):
    assert ftlib("train", "classify", "liar", "--lerning-rate", "1")[0] == 2
    assert ftlib("train")[0] == 2


def broken(source, change):
    path = source/"liar"/"train.tsv"
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize("change, part", [
    (lambda text: text.replace("\t", " ", 3), "train.tsv:1"),
    (lambda text: re.sub(r"\t(true|false|half-true|mostly-true|barely-true|pants-fire)\t", "\tmaybe\t", text, count=1), "maybe"),
    (lambda text: "", "empty"),
])
def test_a_broken_file_is_named_before_anything_is_written(ftlib, small, tmp_path, change, part):
    broken(small, change)
    code, _, err = ftlib("train", "classify", "liar", "--source", small, "--out", tmp_path/"run", *QUICK)
    assert code == 1 and part in one_sentence(err) and "train.tsv" in err
    assert not (tmp_path/"run").exists()


def test_a_checkpoint_cut_short_is_named(ftlib, small, tmp_path):
    assert ftlib("train", "classify", "fever", "--source", small, "--out", tmp_path/"run", *QUICK)[0] == 0
    weights = tmp_path/"run"/"checkpoint"/"model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    code, _, err = ftlib("eval", tmp_path/"run")
    assert code == 1 and "model.safetensors" in one_sentence(err)
    weights.unlink()
    code, _, err = ftlib("eval", tmp_path/"run")
    assert code == 1 and "model.safetensors" in one_sentence(err)


def test_a_full_disk_leaves_the_earlier_checkpoint_whole(ftlib, small, tmp_path):
    "A limit on the size of files stands in for a full disk: the same write fails in the same place."
    run = tmp_path/"run"
    words = ["train", "classify", "fever", "--source", small, "--out", run, *QUICK, "--set", "save_every=1"]
    limit = "import resource, signal, sys; from ftlib import cli, runs\n" \
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); saves, plain = [], runs.write_state\n" \
            "def write_state(path, state):\n" \
            "    saves.append(path)\n" \
            "    if len(saves) == 2: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n" \
            "    plain(path, state)\n" \
            "import ftlib.train; ftlib.train.write_state = write_state\n" \
            f"sys.argv = ['ftlib', *{[str(w) for w in words]!r}]; cli.main()"
    done = subprocess.run([sys.executable, "-c", limit], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "whole" in one_sentence(done.stderr)
    assert [p.name for p in run.iterdir() if "checkpoint" in p.name] == ["checkpoint"]
    code, out, err = ftlib(*words, "--resume")
    assert code == 0 and "after step 1" in err


def test_a_lost_network_is_one_sentence(small, tmp_path):
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path/"hf"), "HF_HUB_OFFLINE": "0"}
    for words in (["train", "classify", "fever", "--source", "hub"], ["generate", "someone/some-model", "Hello"]):
        done = subprocess.run([sys.executable, "-c", "import sys; from ftlib import cli; cli.main()", *words], capture_output=True, text=True,
                              cwd=tmp_path, env=env, timeout=120)
        assert done.returncode == 1
        one_sentence(done.stderr)
    assert not (tmp_path/"runs").exists()


def test_generate_is_reproducible_and_reads_stdin(ftlib, monkeypatch):
    import io
    words = ["generate", "tiny", "Olga Linnard was born", "--max-new-tokens", "6", "-n", "2", "--seed", "3"]
    code, first, _ = ftlib(*words)
    assert code == 0 and first.count("Olga Linnard was born") == 2 and ftlib(*words)[1] == first
    monkeypatch.setattr(sys, "stdin", io.StringIO("Olga Linnard was born"))
    assert ftlib("generate", "tiny", *words[3:])[1] == first


def test_generate_refuses_a_classifier(ftlib, small, tmp_path):
    assert ftlib("train", "classify", "fever", "--source", small, "--out", tmp_path/"run", *QUICK)[0] == 0
    code, _, err = ftlib("generate", tmp_path/"run", "Hello")
    assert code == 1 and "ftlib eval" in one_sentence(err)


def test_tasks_lists_every_task(ftlib):
    from ftlib.tasks import TASKS
    code, out, _ = ftlib("tasks")
    assert code == 0 and all(name in out for name in TASKS)


def test_a_local_settings_file_overlays(ftlib, tmp_path):
    (tmp_path/"settings.ini").write_text("[classify]\nlrr = 1\n")
    code, _, err = ftlib("train", "classify", "liar")
    assert code == 2 and "settings.ini" in one_sentence(err) and "lrr" in err


def test_real_liar_rows(ftlib, shared_data, tmp_path):
    "The shape of the main job on real input, cut to a few steps: the counts of rows are the files' own."
    code, out, err = ftlib("train", "classify", "liar", "--source", shared_data, "--out", tmp_path/"liar", *QUICK)
    assert code == 0, err
    assert "of 398" in scores(out) and "always" in out
    assert scores(ftlib("eval", tmp_path/"liar")[1]) == scores(out)


def test_an_interrupt_says_how_to_go_on(ftlib, monkeypatch, capsys, tmp_path):
    def interrupted(*args, **kw): raise KeyboardInterrupt
    assert cli.run_safely(interrupted) == 130 and capsys.readouterr().err == "stopped\n"
    with monkeypatch.context() as m:
        m.setattr("ftlib.evaluate.train_run", interrupted)
        code, out, err = ftlib("train", "classify", "fever", "--out", tmp_path/"run")
    assert (code, err) == (130, "stopped; a run with checkpoints goes on with --resume\n")


def test_a_warning_is_one_line_said_once(tmp_path):
    "The command itself, since it sets what Python does with warnings: two splits of one file warn of the same poem."
    poems = "".join(f"{i}\n\n" + f"My silver river sings {i} songs a day,\n"*(13 if i == 2 else 14) + "\n" for i in range(1, 31))
    (tmp_path/"sonnets.txt").write_text(poems, encoding="utf-8")
    words = ["train", "sft", "sonnets", "--dev-mode", "--source", str(tmp_path), "--out", str(tmp_path/"run")]
    done = subprocess.run([sys.executable, "-c", "from ftlib import cli; cli.main()", *words], capture_output=True, text=True, cwd=tmp_path)
    told = [line for line in done.stderr.splitlines() if "sonnets" in line]
    assert done.returncode == 0 and told == [f"warning: {tmp_path}/sonnets.txt: 1 sonnets have another number of lines than 14: 2 (13)"], done.stderr


def test_a_bug_keeps_its_traceback():
    def bug(): return {}.no_such_attribute
    with pytest.raises(AttributeError): cli.run_safely(bug)


def test_sft_trains_scores_and_answers(ftlib, tmp_path):
    "Train prints before and after; eval prints the same line; generate speaks in the form of the training."
    quick = ["--set", "max_steps=2", "--set", "batch_size=4", "--set", "answers=4", "--set", "max_new_tokens=20"]
    code, out, err = ftlib("train", "sft", "gsm8k", "--out", tmp_path/"run", *quick)
    assert code == 0, err
    assert "gsm8k · test · tiny" in out and "nats per token" in out and "before" in out
    code, again, _ = ftlib("eval", tmp_path/"run")
    assert code == 0 and scores(again) == scores(out)
    code, text, _ = ftlib("generate", tmp_path/"run", "How many apples are 3 and 4?", "--max-new-tokens", "8", "--temperature", "0")
    assert code == 0 and text.startswith("How many apples are 3 and 4?\n")


@pytest.mark.parametrize("words, part", [
    (("train", "sft", "liar"), "unknown task of sft: 'liar'"), (("train", "classify", "gsm8k"), "unknown task of classify: 'gsm8k'"),
    (("train", "sft", "gsm8k", "--adapter", "loar"), "unknown adapter 'loar' (did you mean 'lora'?)"),
    (("train", "sft", "gsm8k", "--adapter", "lora", "--set", "lora=r=0"), "r = 0 must be a whole number"),
    (("train", "classify", "fever", "--adapter", "reft", "--set", "reft=kind=lorft"), "did you mean 'loreft'?"),
    (("train", "classify", "fever", "--adapter", "lora", "--set", "lora=targets=q_proj"), "there are c_attn, c_fc, c_proj"), (("train", "sft", "gsm8k", "--set", "answers=-1"), "answers = -1 is out of range")])
def test_mistakes_with_sft_get_one_sentence(ftlib, words, part):
    code, _, err = ftlib(*words)
    assert code in (1, 2) and part in one_sentence(err)


@pytest.mark.parametrize("task", ["gsm8k", "smoltalk", "ultrafeedback", "factcheck", "sonnets", "fever_reason"])
def test_sft_on_real_rows(ftlib, shared_data, tmp_path, task):
    "Three steps of a Qwen2 shape on real rows; FEVER's pairs come without reasoning, which is said."
    from models import build

    from ftlib.data import load_tokenizer
    tokenizer = load_tokenizer("tiny")
    build("qwen2_hf", vocab=len(tokenizer), n_positions=512).save_pretrained(tmp_path/"qwen")
    tokenizer.save_pretrained(tmp_path/"qwen")
    code, out, err = ftlib("train", "sft", task, "--source", shared_data, "--model", tmp_path/"qwen", "--out", tmp_path/"run", "--set", "max_steps=3",
                           "--set", "batch_size=4", "--set", "answers=2", "--set", "max_new_tokens=8", "--set", "max_length=64")
    if task == "fever_reason": assert code == 1 and "its completion is None" in one_sentence(err)
    else: assert code == 0 and "nats per token" in out, err


EVERY = [("classify", task) for task in ("propaganda", "liar", "fever", "sentiment", "paraphrase")] + [("sft", "factcheck"), ("sft", "sonnets")]


@pytest.mark.parametrize("objective, task", EVERY)
def test_a_trial_of_every_recipe(ftlib, objective, task):
    "--dev-mode goes through the whole recipe, may be repeated, and eval gives its numbers again."
    code, out, err = ftlib("train", objective, task, "--dev-mode")
    assert code == 0 and "a trial" in out and f"runs/{objective}-{task}-dev" in out, err
    run = Path("runs")/f"{objective}-{task}-dev"
    settings = json.loads((run/"settings.json").read_text())
    assert settings["max_steps"] == 3 and settings["rows"] == 32
    code, again, err = ftlib("eval", run)
    assert code == 0 and scores(again) == scores(out) and " of 8" in scores(out), err
    assert ftlib("train", objective, task, "--dev-mode", "--set", "max_steps=2")[0] == 0
    assert json.loads((run/"settings.json").read_text())["max_steps"] == 2


def test_a_trial_with_each_adapter_and_in_the_cuda_profile(ftlib, monkeypatch):
    for adapter in ("head", "lora", "reft"): assert ftlib("train", "classify", "fever", "--dev-mode", "--adapter", adapter)[0] == 0
    code, out, err = ftlib("train", "sft", "factcheck", "--dev-mode", "--profile", "cuda", "--model", "tiny", "--source", "tiny", "--set", "dtype=float32")
    assert code == 0 and "chrF" in out, err


@pytest.mark.parametrize("task", ["factcheck", "sonnets"])
def test_a_stream_is_read_by_the_training_alone(ftlib, task):
    "Its texts are scored without yardsticks from the training rows; eval, which reads them anew, has them."
    code, out, err = ftlib("train", "sft", task, "--dev-mode", "--set", "stream=true")
    assert code == 0 and "chrF" in out and "verdict" not in out, err
    code, out, err = ftlib("eval", f"runs/sft-{task}-dev")
    assert code == 0 and ("verdict" in out) == (task == "factcheck"), err


def test_a_real_run_is_not_thrown_away_by_a_trial(ftlib, small, tmp_path):
    out = tmp_path/"kept"
    assert ftlib("train", "classify", "fever", "--source", small, "--out", out, *QUICK)[0] == 0
    code, _, err = ftlib("train", "classify", "fever", "--dev-mode", "--out", out)
    assert code == 1 and "--resume" in one_sentence(err) and json.loads((out/"settings.json").read_text())["rows"] == 0


def test_compare_and_the_leaderboard(ftlib, small, tmp_path):
    import pandas as pd
    code, _, err = ftlib("compare")
    assert code == 1 and "ftlib eval" in one_sentence(err)
    for name, more in (("first", []), ("second", ["--adapter", "lora"])):
        assert ftlib("train", "classify", "liar", "--source", small, "--out", name, *QUICK, *more)[0] == 0
    code, out, err = ftlib("compare", "first", "second")
    assert code == 0 and "liar · validation" in out and "later run minus first run" in out, err
    assert Path("runs/compare-liar-validation.png").stat().st_size > 5000
    assert not Path("runs/leaderboard.jsonl").exists()
    for name in ("first", "second", "first"): assert ftlib("eval", name)[0] == 0
    assert ftlib("eval", "second", "--split", "test", "--n", "10")[0] == 0
    board = pd.read_json("runs/leaderboard.jsonl", lines=True)
    assert board["run"].tolist() == ["first", "second", "first", "second"] and board["n"].tolist() == [24, 24, 24, 10]
    code, out, _ = ftlib("compare")
    assert code == 0 and "liar · validation" in out and "liar · test" in out and out.count("first") == 1
    code, _, err = ftlib("compare", "first", "nobody")
    assert code == 1 and "nobody has no scores yet: run `ftlib eval nobody` first" in one_sentence(err)


def test_a_base_model_stands_beside_its_run(ftlib):
    "The embedded model has no run folder; its scores are kept, and compared on the same rows."
    assert ftlib("train", "sft", "factcheck", "--dev-mode")[0] == 0
    code, out, err = ftlib("eval", "tiny", "factcheck", "--n", "8")
    assert code == 0 and "runs/evals/tiny" in out, err
    code, out, err = ftlib("compare", "tiny", "runs/sft-factcheck-dev")
    assert code == 0 and "nats per token" in out and "runs/sft-factcheck-dev" in out, err


def test_a_classifier_can_judge_explanations(ftlib, tmp_path):
    from ftlib.classify import Classifier
    from ftlib.gpt2 import load_model
    from ftlib.tasks.factcheck import RATINGS
    model, tokenizer = load_model("tiny", device="cpu")
    Classifier(model, 6, labels=list(RATINGS)).save_pretrained(tmp_path/"judge", tokenizer)
    assert ftlib("train", "sft", "factcheck", "--dev-mode")[0] == 0
    code, out, err = ftlib("eval", "runs/sft-factcheck-dev", "--judge", tmp_path/"judge")
    assert code == 0 and "verdict of true" in out, err
    Classifier(load_model("tiny", device="cpu")[0], 2).save_pretrained(tmp_path/"no-judge", tokenizer)
    code, _, err = ftlib("eval", "runs/sft-factcheck-dev", "--judge", tmp_path/"no-judge")
    assert code == 1 and "a reader of verdicts has the labels" in one_sentence(err)
    code, _, err = ftlib("eval", "runs/sft-factcheck-dev", "--judge", "tiny")
    assert code == 1 and "classification head" in one_sentence(err)


@pytest.mark.parametrize("name", ["gpt2_ours", "llama_hf", "qwen2_hf"])
@pytest.mark.parametrize("objective, task", [("classify", "fever"), ("sft", "factcheck")])
def test_export_has_the_same_logits_in_transformers(ftlib, tmp_path, name, objective, task):
    "A LoRA run, merged, on each shape: what transformers computes from the folder is what the run computes."
    import torch
    from models import build
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from ftlib.data import load_tokenizer
    from ftlib.evaluate import load_run
    from ftlib.logps import forward
    tokenizer = load_tokenizer("tiny")
    build(name, vocab=len(tokenizer), n_positions=512).save_pretrained(tmp_path/"base")
    tokenizer.save_pretrained(tmp_path/"base")
    code, _, err = ftlib("train", objective, task, "--dev-mode", "--adapter", "lora", "--set", "lora=r=4 alpha=64", "--model", tmp_path/"base", "--out", tmp_path/"run")
    assert code == 0, err
    code, out, err = ftlib("export", tmp_path/"run", tmp_path/"plain")
    assert code == 0 and not list((tmp_path/"plain").glob("adapter*")), err
    kind = AutoModelForSequenceClassification if objective == "classify" else AutoModelForCausalLM
    theirs, run = kind.from_pretrained(tmp_path/"plain").eval(), load_run(tmp_path/"run", "cpu").model
    ids = torch.tensor([tokenizer.encode("Olga has a red door and Ben a blue one.")])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        ours = run(ids, mask) if objective == "classify" else forward(run, ids, mask).logits
        peer = theirs(input_ids=ids, attention_mask=mask).logits
    assert (ours - peer).abs().max() < 1e-5*max(1, peer.abs().max())
    assert ftlib("eval", tmp_path/"plain", task, "--n", "4")[0] == 0


def test_export_refuses_what_transformers_could_not_say(ftlib, tmp_path):
    assert ftlib("train", "classify", "fever", "--dev-mode", "--adapter", "reft", "--out", "reft")[0] == 0
    code, _, err = ftlib("export", "reft", tmp_path/"plain")
    assert code == 1 and "ReFT" in one_sentence(err) and not (tmp_path/"plain").exists()
    assert ftlib("train", "classify", "fever", "--dev-mode", "--set", "pooling=mean", "--out", "mean")[0] == 0
    code, _, err = ftlib("export", "mean", tmp_path/"plain")
    assert code == 1 and "pooling = last" in one_sentence(err) and not (tmp_path/"plain").exists()
    (tmp_path/"full").mkdir()
    (tmp_path/"full"/"note").write_text("mine")
    code, _, err = ftlib("export", "tiny", tmp_path/"full")
    assert code == 1 and "not empty" in one_sentence(err) and [p.name for p in (tmp_path/"full").iterdir()] == ["note"]


@pytest.mark.parametrize("objective, task", EVERY)
def test_real_rows_of_every_supervised_task(ftlib, shared_data, tmp_path, objective, task):
    code, out, err = ftlib("train", objective, task, "--dev-mode", "--source", shared_data, "--set", "held_out=24", "--set", "max_length=200", "--out", tmp_path/"run")
    assert code == 0, err
    code, again, err = ftlib("eval", tmp_path/"run")
    assert code == 0 and scores(again) == scores(out), err
