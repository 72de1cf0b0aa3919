"settings.ini, its overlays and its errors; profiles, seeds, devices, keys."
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys

import pytest
from ftlib import experiments, settings
from ftlib.files import load_env
from ftlib.settings import (ADAPTERS, EXPERIMENTS, PREFERENCE_LOSSES, PROFILES, RULES, ClassifySettings, Settings, UnknownName, attempt,
                            check_value, load_settings, nearest, parse_value, pick_device, profile_name, read_settings, resource, set_seed,
                            unknown)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    "An empty working folder."
    monkeypatch.chdir(tmp_path)
    return tmp_path


def local(folder, text): (folder/"settings.ini").write_text(text, encoding="utf-8")


# --- the file that ships


@pytest.mark.parametrize("profile", ["cpu", "cuda"])
def test_every_section_loads(folder, profile):
    names = {*EXPERIMENTS, *(section.split(":")[0] for section in read_settings(resource("settings.ini")))}
    assert {"classify", "classify.liar", "classify.fever"} <= names
    for name in names:
        settings = load_settings(name, profile)
        assert isinstance(settings, EXPERIMENTS[name.split(".")[0]])
        assert (settings.experiment, settings.profile) == (name, profile)


def test_profiles_differ_as_they_should(folder):
    cpu, cuda = load_settings("classify.liar"), load_settings("classify.liar", "cuda")
    assert (cpu.model, cpu.source, cpu.dtype) == ("tiny", "tiny", "float32")
    assert (cuda.model, cuda.source, cuda.dtype) == ("openai-community/gpt2", "hub", "bfloat16")
    assert cpu.device == cuda.device == "auto"


def test_every_field_has_a_comment_and_a_simple_type():
    for kind in EXPERIMENTS.values():
        for f in dataclasses.fields(kind):
            assert f.type in (str, int, float, bool)
            assert f.default is not dataclasses.MISSING


# --- which value wins


def test_the_order_of_sections(folder):
    local(folder, "[classify.liar:cuda]\nseed = 4\n[classify]\nseed = 1\nlog_every = 1\nclip = 1\nmax_steps = 1\n"
                  "[classify:cuda]\nseed = 2\nlog_every = 2\nclip = 2\n[classify.liar]\nseed = 3\nlog_every = 3\n")
    s = load_settings("classify.liar", "cuda")
    assert (s.seed, s.log_every, s.clip, s.max_steps) == (4, 3, 2.0, 1)
    s = load_settings("classify.liar", "cpu")
    assert (s.seed, s.log_every, s.clip, s.max_steps) == (3, 3, 1.0, 1)
    assert load_settings("classify.liar", "cuda", seed="5").seed == 5
    assert load_settings("classify", "cuda").seed == 2


def test_sections_are_merged_with_the_packaged_ones(folder):
    before = load_settings("classify", "cuda")
    local(folder, "[classify]\nweight_decay = 0.5\n")
    assert dataclasses.replace(before, weight_decay=0.5) == load_settings("classify", "cuda")


def test_a_task_of_ones_own(folder):
    with pytest.raises(KeyError, match="classify.mytask"): load_settings("classify.mytask")
    local(folder, "[classify.mytask]\n")
    assert load_settings("classify.mytask").lr == load_settings("classify").lr


def test_none_leaves_the_value(folder): assert load_settings("classify", lr=None) == load_settings("classify")


def test_what_was_saved_comes_back(folder):
    saved = load_settings("classify.fever", "cuda", lr="3e-4", pair="no", wandb="offline", seed=9)
    local(folder, "[classify]\nlr = 1\n[classify.fever]\npair = true\n")
    assert load_settings(**json.loads(saved.to_json())) == saved


def test_the_working_folder_may_be_the_checkout(root, monkeypatch):
    monkeypatch.chdir(root)
    assert load_settings("classify") == load_settings("classify", "cpu")


# --- what is refused


REFUSED = {
    "[clasify]\nlr = 1": "unknown section 'clasify' (did you mean 'classify'?)",
    "[classify:cdua]\nlr = 1": "unknown overlay 'cdua' (did you mean 'cuda'?)",
    "[classify:cpu]\nlr = 1": "unknown overlay 'cpu'",
    "[classify:]\nlr = 1": "unknown overlay ''",
    "[DEFAULT]\nlr = 1": "unknown section 'DEFAULT'",
    "[classify]\nlearning_rate = 1": "unknown setting of classify: 'learning_rate'",
    "[classify]\nweight_decy = 1": "(did you mean 'weight_decay'?)",
    "[classify]\nLR = 1": "(did you mean 'lr'?)",
    "[classify]\nprofile = cuda": "unknown setting of classify: 'profile'",
    "[pretrain]\npooling = last": "unknown setting of pretrain: 'pooling'",
    "[classify]\nepochs = two": "epochs = 'two' is not a whole number",
    "[classify]\nepochs = 1.5": "epochs = '1.5' is not a whole number",
    "[classify]\nlr = fast": "lr = 'fast' is not a number",
    "[classify]\nlr =": "lr = '' is not a number",
    "[classify]\nlr = nan": "lr = 'nan' is not a number",
    "[classify]\nclip = inf": "clip = 'inf' is not a number",
    "[classify]\npair = maybe": "pair = 'maybe' is not true or false",
    "[classify]\nschedule = cosin": "unknown schedule 'cosin' (did you mean 'cosine'?)",
    "[classify]\nlr = 0": "lr = 0.0 is out of range: it must be more than 0",
    "[classify]\nlr = 1\nlr = 2": "already exists",
    "[classify]\nlr = 1\n[classify]\nlr = 2": "already exists",
    "lr = 1": "no section headers",
    "[classify\nlr = 1": "no section headers",
    "[classify]\nlr": "parsing errors",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_bad_file_is_told_in_one_sentence(folder, text):
    local(folder, text)
    with pytest.raises((ValueError, KeyError)) as caught: load_settings("pretrain")
    said = str(caught.value)
    assert REFUSED[text] in said and "settings.ini" in said and "\n" not in said, said


def test_bytes_that_are_no_text(folder):
    (folder/"settings.ini").write_bytes(b"[classify]\nlr = \xff\n")
    with pytest.raises(ValueError, match="not UTF-8"): load_settings("classify")


def test_a_byte_order_mark_and_comments_are_fine(folder):
    (folder/"settings.ini").write_bytes("\ufeff# mine\r\n[classify]\r\nlr = 3e-4 # small\r\npair = Off\r\nsource = a#b\r\n".encode())
    s = load_settings("classify")
    assert (s.lr, s.pair, s.source) == (3e-4, False, "a#b")


OUT_OF_RANGE = {"epochs": [0, -1], "max_steps": [-1], "batch_size": [0], "accumulation": [0], "lr": [0.0, -1e-3], "weight_decay": [-0.1],
                "warmup": [-0.1, 1.1], "min_lr": [-0.1, 2], "clip": [-1], "max_length": [1], "dropout": [-0.1, 1.0], "beta2": [-0.1, 1.0], "log_every": [0],
                "eval_every": [-1], "save_every": [-1], "seed": [-1, 2**32], "device": ["gpu", "cuda:x", ""], "model": ["", " "],
                "source": [""], "n_layer": [0], "n_head": [0], "n_embd": [0], "vocab_size": [256],
                "answers": [-1], "max_new_tokens": [0], "rows": [-1], "held_out": [-1],
                "beta": [-0.1], "label_smoothing": [-0.1, 0.5], "gamma": [-0.1], "sft_weight": [-0.1],
                "k": [1, 0], "minibatches": [0], "updates": [0], "reward_clip": [-0.1], "samples": [-1], "show_every": [-1], "epsilon": [0.0, 1.0, -0.1],
                "epsilon_high": [-0.1], "temperature": [0.0, -1], "top_k": [-1], "top_p": [0.0, 1.1], "min_p": [-0.1, 1.1],
                "engine": ["vllm", "", "ftp://host", "http://", "localhost:8000", "https://a b"]}


def test_every_rule_has_a_case(): assert {key for _, names in RULES.values() for key in names} == set(OUT_OF_RANGE)


@pytest.mark.parametrize("key", OUT_OF_RANGE)
def test_out_of_range(folder, key):
    experiment = next(name for name, kind in EXPERIMENTS.items() if key in kind.__dataclass_fields__)
    for value in OUT_OF_RANGE[key]:
        with pytest.raises(ValueError, match=f"^{key} = .* is out of range: it must be "): load_settings(experiment, **{key: value})
        with pytest.raises(ValueError): EXPERIMENTS[experiment](**{key: value})


@pytest.mark.parametrize("key,good", [("adapter", "none"), ("wandb", "offline"), ("dtype", "bfloat16"), ("pooling", "mean"), ("schedule", "linear"),
                                      ("kind", "discopop"), ("reference", "precomputed"), ("bad_pairs", "refuse"),
                                      ("kl", "k3"), ("kl_in", "loss"), ("ratio", "token"), ("bad_rewards", "skip")])
def test_choices(key, good):
    experiment = next(name for name, kind in EXPERIMENTS.items() if key in kind.__dataclass_fields__)
    assert getattr(load_settings(experiment, **{key: good}), key) == good
    with pytest.raises((ValueError, KeyError), match=f"unknown {key} 'xyz'; known: .*{good}"): load_settings(experiment, **{key: "xyz"})


def test_preferences(folder):
    "What is learned from pairs: the losses by name, an adapter's own rate, and the cuda profile laid over the other."
    for kind in PREFERENCE_LOSSES: assert load_settings("dpo", kind=kind).kind == kind
    rates = {adapter: [load_settings("dpo.ultrafeedback", profile, adapter=adapter).lr for profile in PROFILES] for adapter in ADAPTERS}
    assert all(cpu > cuda for cpu, cuda in rates.values()) and len(set(map(tuple, rates.values()))) == len(ADAPTERS)
    cpu, cuda = (load_settings("dpo.ultrafeedback", profile) for profile in PROFILES)
    assert (cpu.reference, cuda.reference, cpu.max_new_tokens, cuda.max_length) == ("auto", "precomputed", 64, 1024)
    assert load_settings("sft", packing="on").packing and not load_settings("sft").packing


def test_reinforcement(folder):
    "What is learned from rewards: no KL is a setting (dpo refuses a beta of 0 by itself), an address is an engine, and each adapter has its own rate."
    assert load_settings("rloo", beta=0).beta == load_settings("dpo", beta=0).beta == 0.0
    for address in ("local", "http://127.0.0.1:8000", "https://gpu.example:8000/v1"): assert load_settings("rloo", engine=address).engine == address
    tasks = {task: [load_settings(f"rloo.{task}", profile) for profile in PROFILES] for task in ("gsm8k", "fever_reason")}
    assert all(cpu.model == "tiny" and cuda.dtype == "bfloat16" and cuda.k > cpu.k and cpu.lr > cuda.lr for cpu, cuda in tasks.values())
    assert tasks["fever_reason"][0].max_new_tokens < tasks["gsm8k"][0].max_new_tokens
    for profile in PROFILES: assert len({load_settings("rloo.gsm8k", profile, adapter=adapter).lr for adapter in ("none", "head", "lora")}) == 3


def test_settings_offers_what_can_be_set():
    "Nobody needs to know that the classes live in a module of their own."
    for name in experiments.__all__: assert getattr(settings, name) is getattr(experiments, name) and name in settings.__all__


@pytest.mark.parametrize("call,says", [
    (lambda: load_settings("clasify"), "unknown experiment 'clasify' (did you mean 'classify'?)"),
    (lambda: load_settings("classify.lair"), "(did you mean 'classify.liar'?)"),
    (lambda: load_settings("classify.liar:cuda"), "unknown experiment"),
    (lambda: load_settings("classify", "gpu"), "unknown profile 'gpu' (did you mean 'cpu'?); known: cpu, cuda"),
    (lambda: load_settings("classify", learning_rate=1), "unknown setting of classify: 'learning_rate'"),
    (lambda: load_settings("classify", seed=1.5), "seed = 1.5 is not a whole number"),
    (lambda: load_settings("classify", epochs=True), "epochs = True is not a whole number"),
    (lambda: load_settings("classify", lr=[1]), "lr = [1] is not a number"),
    (lambda: resource("setings.ini"), "(did you mean 'settings.ini'?)"),
])
def test_a_bad_call_is_told_in_one_sentence(folder, call, says):
    with pytest.raises((ValueError, KeyError)) as caught: call()
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_typed_values():
    fields = ClassifySettings.__dataclass_fields__
    for text in ("true", "Yes", "ON", " 1 ", True): assert parse_value(fields["pair"], text) is True
    for text in ("false", "No", "OFF", "0", False): assert parse_value(fields["pair"], text) is False
    assert parse_value(fields["epochs"], "3") == parse_value(fields["epochs"], 3.0) == 3
    assert type(parse_value(fields["epochs"], 3.0)) is int and type(parse_value(fields["lr"], 1)) is float
    assert check_value("device", "cuda:1") == "cuda:1"


def test_names():
    assert nearest("Liar", ["liar", "fever"]) == " (did you mean 'liar'?)" and nearest("xyz", ["liar"]) == ""
    assert nearest("evidence", ["evid\nence\ud800"]) == r" (did you mean 'evid\nence\ud800'?)"         # names of files are quoted, in one line
    error = unknown("task", "lair", ["liar", "fever"])
    assert isinstance(error, UnknownName) and isinstance(error, KeyError) and isinstance(error, ValueError)
    assert str(error) == "unknown task 'lair' (did you mean 'liar'?); known: liar, fever"
    assert str(unknown("task", "x", [])).endswith("known: none")


# --- profiles and resources


def test_the_profile_is_asked_for(monkeypatch, folder):
    assert profile_name() == "cpu"
    monkeypatch.setenv("FTLIB_PROFILE", "cuda")
    assert profile_name() == "cuda" and profile_name("cpu") == "cpu"
    assert load_settings("classify").profile == "cuda"
    monkeypatch.setenv("FTLIB_PROFILE", "gpu")
    with pytest.raises(ValueError, match="FTLIB_PROFILE: 'gpu'"): load_settings("classify")


def test_resources_from_any_folder(folder):
    assert resource("settings.ini").is_file() and resource("tiny").is_dir()


def test_resources_in_a_wheel(root, tmp_path):
    "The package as a wheel installs it: beside others, with its files inside; a settings.ini of somebody else's lies above it."
    shutil.copytree(root/"ftlib", tmp_path/"site"/"ftlib", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path/"site"/"settings.ini").write_text("[metadata]\nname = other\n")
    inside = tmp_path/"site"/"ftlib"/"_resources"
    (inside/"tiny").mkdir(parents=True)
    shutil.copy(root/"settings.ini", inside)
    (tmp_path/"empty").mkdir()
    code = "from ftlib.settings import *; print(load_settings('classify').model, resource('tiny'), resource('settings.ini'), sep='|')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path/"empty", env={**os.environ, "PYTHONPATH": str(tmp_path/"site")},
                          capture_output=True, text=True)
    assert done.stdout.strip() == f"tiny|{inside/'tiny'}|{inside/'settings.ini'}", done.stderr
    shutil.rmtree(inside)
    (tmp_path/"site"/"settings.ini").unlink()
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path/"empty", env={**os.environ, "PYTHONPATH": str(tmp_path/"site")},
                          capture_output=True, text=True)
    assert "ftlib's own 'settings.ini' is missing" in done.stderr


# --- seeds, devices, keys, exercises


def test_seeds():
    import numpy as np
    import torch
    def draw(): return random.random(), np.random.rand(), torch.rand(1).item()
    set_seed(5)
    one = draw()
    set_seed(5)
    two = draw()
    set_seed(6)
    assert one == two and all(a != b for a, b in zip(one, draw()))


def test_devices(monkeypatch):
    import torch
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="auto, cpu, mps, cuda or cuda:<number>"): pick_device("gpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device() == torch.device("cuda") and pick_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ValueError, match="device 'cuda:1' was asked for and PyTorch sees 1"): pick_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match="device 'cuda' was asked for and PyTorch sees 0"): pick_device("cuda")


def test_keys(folder, monkeypatch, capsys):
    monkeypatch.setenv("FTLIB_TEST_OLD", "old")
    monkeypatch.delenv("FTLIB_TEST_NEW", raising=False)
    assert load_env() == []
    (folder/".env").write_text("# keys\nFTLIB_TEST_OLD=from-file\nexport FTLIB_TEST_NEW='a secret'\n")
    assert load_env() == ["FTLIB_TEST_NEW"]
    assert (os.environ.pop("FTLIB_TEST_NEW"), os.environ["FTLIB_TEST_OLD"]) == ("a secret", "old")
    said = capsys.readouterr()
    assert "secret" not in said.out + said.err and "from-file" not in said.out + said.err


def test_attempts():
    def check(f): assert f(2) == 4
    def explode(f): f.nothing
    assert attempt(check, lambda x: 2*x) == "passed"
    assert attempt(check, lambda x: x).startswith("not yet: AssertionError")
    assert attempt(explode, 3) == "not yet: AttributeError: 'int' object has no attribute 'nothing'"
    assert "\n" not in attempt(check, lambda x: 1/0) and len(attempt(check, lambda x: [0]*1000)) < 300


def test_settings_made_by_hand_are_checked():
    assert Settings(lr="3e-4", epochs="2").epochs == 2
    with pytest.raises(TypeError): Settings(learning_rate=1)
    with pytest.raises(TypeError): Settings("classify")
