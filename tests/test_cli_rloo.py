"Reinforcement from the command line: a trial of every way, real rows, a reward of one's own, going on, and what goes wrong."
import json
from pathlib import Path

import pytest
from launch import stops_at
from models import build
from test_cli import ftlib, one_sentence, scores  # noqa: F401

from ftlib.data import load_tokenizer

TRIAL = ("--dev-mode", "--set", "answers=2", "--set", "samples=2", "--set", "max_new_tokens=6", "--set", "max_steps=2", "--set", "k=2", "--set", "rows=8")
RLOO = ("train", "rloo", "gsm8k", *TRIAL)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    "A small Qwen2 with the embedded tokenizer."
    tokenizer, folder = load_tokenizer("tiny"), tmp_path_factory.mktemp("qwen")
    build("qwen2_hf", vocab=len(tokenizer), n_positions=512).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_trial_and_all_that_follows(ftlib):  # noqa: F811
    code, out, err = ftlib("train", "rloo", "gsm8k", "--dev-mode", "--set", "show_every=1")
    assert code == 0 and "gsm8k · test · tiny" in out and "a trial" in out, err
    run = Path("runs/rloo-gsm8k-dev")
    assert {"settings.json", "metrics.jsonl", "checkpoint", "report.json", "curves.png", "samples.jsonl"} <= {p.name for p in run.iterdir()}
    report = json.loads((run/"report.json").read_text())
    assert report["sampled"]["k"] == 4 and report["kl"]["n"] == 4 and report["untrained"]["sampled"]["n"] == 4
    shown = [json.loads(line) for line in (run/"samples.jsonl").read_text().splitlines()]
    assert [r["rollout"] for r in shown] == [n for n in range(3) for _ in range(4)] and {"prompt", "said", "reward", "reward_strict", "advantage", "kl"} <= shown[0].keys()
    assert [line.split(":")[0] for line in scores(out).splitlines() if "always" not in line] == [
        "right, strict", "right, lenient", "pass@1", "pass@k", "well formed", "tokens", "KL per completion", "KL per token"]
    code, again, err = ftlib("eval", run)
    assert code == 0 and scores(again) == scores(out), err
    code, out, err = ftlib("generate", run, "How many hats?", "--max-new-tokens", "6", "--temperature", "0")
    assert code == 0 and out.startswith("How many hats?\n"), err
    code, out, err = ftlib("export", run, "plain")
    assert code == 0, err
    code, out, err = ftlib(*RLOO, "--model", "plain", "--out", "on")
    assert code == 0, err
    code, out, err = ftlib("compare", run, "on")
    assert code == 0 and Path("runs/compare-gsm8k-test.png").is_file(), err


@pytest.mark.parametrize("task, more", [
    ("fever_reason", ("--adapter", "lora")), ("gsm8k", ("--adapter", "reft", "--set", "reference=adapter")), ("gsm8k", ("--adapter", "head", "--set", "normalize=true")),
    ("gsm8k", ("--adapter", "lora", "--set", "reference=copy", "--set", "kl_in=loss", "--set", "kl=k3")), ("gsm8k", ("--set", "beta=0", "--set", "ratio=token", "--set", "updates=2", "--set", "minibatches=2")),
    ("fever_reason", ("--set", "reward=strict=1 evidence=0.5 length@3=0.2", "--set", "reward_clip=1", "--set", "mask_truncated=true", "--set", "top_p=0.9")),
    ("gsm8k", ("--profile", "cuda", "--model", "tiny", "--source", "tiny", "--set", "dtype=float32"))], ids=lambda x: x if isinstance(x, str) else " ".join(w for w in x if w[0] != "-")[:40])
def test_a_trial_of_every_way(ftlib, task, more):  # noqa: F811
    code, out, err = ftlib("train", "rloo", task, *TRIAL, *more)
    assert code == 0 and "a trial" in out, err
    code, again, err = ftlib("eval", f"runs/rloo-{task}-dev")
    assert code == 0 and scores(again) == scores(out), err


@pytest.mark.parametrize("task", ["gsm8k", "fever_reason"])
def test_real_rows(ftlib, shared_data, qwen, task):  # noqa: F811
    code, out, err = ftlib("train", "rloo", task, *TRIAL, "--source", shared_data, "--model", qwen, "--set", "max_length=500", "--set", "held_out=4")
    assert code == 0, err
    code, again, err = ftlib("eval", f"runs/rloo-{task}-dev")
    assert code == 0 and scores(again) == scores(out), err


def test_a_reward_of_ones_own(ftlib):  # noqa: F811
    Path("my.py").write_text("def reward(completions, row): return [float(len(c) % 2) for c in completions]\ndef bad(completions, row): return [1/0]\n"
                             "def few(completions, row): return [1.0]\ndef none(completions, row): return [None]*len(completions)\n")
    code, out, err = ftlib(*RLOO, "--set", "reward=my.py:reward=1", "--set", "show_every=1")
    assert code == 0, err
    first = json.loads(Path("runs/rloo-gsm8k-dev/metrics.jsonl").read_text().splitlines()[0])
    assert {"reward", "task_reward", "reward_strict", "reward_answer"} <= first.keys() and first["reward"] == first["task_reward"]
    for name, says in (("bad", "raised ZeroDivisionError: division by zero"), ("few", "gave 1 values for 2 completions"), ("none", "gave None")):
        code, out, err = ftlib(*RLOO, "--set", f"reward=my.py:{name}=1")
        assert code == 1 and f"the reward '{name}' {says}, for the completion '" in one_sentence(err)
    with pytest.warns(UserWarning, match="such completions are skipped"): code, out, err = ftlib(*RLOO, "--set", "reward=my.py:none=1", "--set", "bad_rewards=skip")
    assert code == 0, err


def test_going_on(ftlib, monkeypatch):  # noqa: F811
    "Stopped by hand after two steps, then gone on with."
    words = (*RLOO, "--set", "max_steps=4", "--set", "save_every=1", "--set", "show_every=1")
    assert ftlib(*words, "--out", "whole")[0] == 0
    from ftlib import jobs
    with monkeypatch.context() as m:
        m.setattr("ftlib.jobs.rloo_step", stops_at(jobs.rloo_step, 3))
        code, _, err = ftlib(*words, "--out", "cut")
    assert code == 130
    code, _, err = ftlib(*words, "--out", "cut")
    assert code == 1 and "--resume" in one_sentence(err)
    code, _, err = ftlib(*words, "--out", "cut", "--resume", "--set", "k=3")
    assert code == 1 and "was started with k = 2, not 3" in one_sentence(err)
    code, out, err = ftlib(*words, "--out", "cut", "--resume")
    assert code == 0 and "goes on after step 2" in err, err
    for name in ("samples.jsonl", "report.json", "checkpoint/model.safetensors"): assert Path("cut", name).read_bytes() == Path("whole", name).read_bytes(), name
    code, _, err = ftlib(*words, "--out", "cut", "--resume")
    assert code == 0 and "is finished" in err, err


@pytest.mark.parametrize("words, code, part", [
    (["--set", "dropout=0.1"], 1, "dropout = 0.1 must be 0: rloo samples, scores and learns without it"),
    (("--set", "reference=precomputed"), 1, "reference = precomputed is for dpo"), (("--set", "reference=adapter"), 1, "adapter = none has none"),
    (("--set", "reward=strct=1"), 2, "unknown reward of gsm8k: 'strct' (did you mean 'strict'?)"), (("--set", "reward=strict"), 1, "'strict' is no reward; write name=weight"),
    (("--set", "reward=none.py:f=1"), 1, "there is no Python file 'none.py'"), (("--set", "reward=strict=x"), 1, "the weight is no number"),
    (("--set", "k=1"), 1, "k = 1 is out of range: it must be at least 2"), (("--set", "temperature=0"), 1, "temperature = 0.0 is out of range: it must be more than 0"),
    (("--set", "epsilon=0"), 1, "epsilon = 0.0 is out of range"), (("--set", "kl=k4"), 2, "unknown kl 'k4'"), (("--set", "ratio=tokens"), 2, "unknown ratio 'tokens' (did you mean 'token'?)"),
    (("--set", "engine=vllm"), 1, "engine = 'vllm' is out of range: it must be local, or the address of a vLLM server"), (("--set", "kind=sigmoid"), 2, "unknown setting of rloo.gsm8k: 'kind'"),
    (("--set", "batch_size=64"), 1, "8 prompts are too few for one rollout of 64"), (("--set", "max_length=20"), 1, "no prompt of 8 leaves room for 6 new tokens within 20"),
    (("--set", "max_new_tokens=2000"), 1, "leaves room for 2000 new tokens within 160"), (("--model", "nowhere"), 1, "nowhere"), (("--source", "nowhere"), 1, "there is no folder 'nowhere'"),
    (("--adapter", "reft", "--set", "reft=kind=consreft"), 1, "kind = consreft changes the output from the start"), (("--resume", "--out", "nothing"), 1, "there is no run in nothing")])
def test_mistakes_get_one_sentence(ftlib, words, code, part):  # noqa: F811
    got, _, err = ftlib(*RLOO, *words)
    assert got == code and part in one_sentence(err)


def test_an_engine_that_does_not_answer(ftlib):  # noqa: F811
    code, _, err = ftlib(*RLOO, "--set", "engine=http://127.0.0.1:9/v1")
    assert code == 1 and "127.0.0.1:9" in one_sentence(err)


def test_the_wrong_task(ftlib):  # noqa: F811
    code, _, err = ftlib("train", "rloo", "ultrafeedback")
    assert code == 2 and "unknown task of rloo: 'ultrafeedback'" in one_sentence(err)
