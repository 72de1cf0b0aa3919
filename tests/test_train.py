"""What a reader of chapters 04 (one optimiser step, what a run leaves behind) and 05 (the loop) should not have to see."""
import copy
import errno
import json
import math
import os
import time
from pathlib import Path

import pytest
import torch
from ftlib.optim import count_steps, describe, lr_at, make_optimizer, scale_gradients
from ftlib.runs import History, atomic_dir, atomic_write, live_tensors, put_back, read_state, rng_state, set_rng_state, start_wandb, write_state
from ftlib.settings import Settings
from ftlib.train import NotFinite, fit
from torch import nn
from torch.nn.utils.parametrizations import orthogonal


@pytest.fixture(autouse=True)
def one_thread():
    "The models here are too small to share between cores."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(dropout=0.0, seed=1):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 24), nn.LayerNorm(24), nn.Tanh(), nn.Dropout(dropout), nn.Linear(24, 1))


def batches(sizes=(1, 7, 4, 12, 2, 9, 3), seed=0):
    g = torch.Generator().manual_seed(seed)
    X = [torch.randn(n, 6, generator=g) for n in sizes]
    return [{"x": x, "y": x.sum(1), "id": [f"{i}-{j}" for j in range(len(x))], "attention_mask": torch.ones(len(x), 6)} for i, x in enumerate(X)]


def step(model, batch):
    error = (model(batch["x"])[:, 0] - batch["y"])**2
    return error.sum(), len(error), {"large": (error > 1).sum()}


def settings(**kw): return Settings(**{"epochs": 2, "lr": 0.01, "log_every": 1, "device": "cpu", **kw})


def timeless(history): return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


class Stop(Exception): pass


def stop_after(n):
    "A step that is interrupted at its n-th micro-batch."
    calls = []

    def stops(model, batch):
        if len(calls) == n: raise Stop
        calls.append(1)
        return step(model, batch)
    return stops


# --- the arithmetic


@pytest.mark.parametrize("clip", [0.0, 0.3])
@pytest.mark.parametrize("sizes", [(3, 3, 3), (1, 30, 5), (8,)])
def test_accumulation_equals_the_big_batch(sizes, clip):
    parts = batches(sizes)
    whole = [{"x": torch.cat([b["x"] for b in parts]), "y": torch.cat([b["y"] for b in parts])}]
    one, many = make(), make()
    a = fit(one, whole, step, settings(epochs=6, clip=clip, weight_decay=0.1))
    b = fit(many, parts, step, settings(epochs=6, clip=clip, weight_decay=0.1, accumulation=len(parts)))
    assert max((p - q).abs().max().item() for p, q in zip(one.parameters(), many.parameters())) < 1e-6
    for r, s in zip(a, b):
        assert all(abs(r[k] - s[k]) < 1e-5*max(1, abs(r[k])) for k in ("loss", "grad_norm", "lr", "weight", "large"))


def test_mean_of_means_would_be_noticed():
    "The naive loss, a mean over each micro-batch, must not pass the test above."
    parts = batches((1, 30, 5))
    whole = [{"x": torch.cat([b["x"] for b in parts]), "y": torch.cat([b["y"] for b in parts])}]
    mean = lambda model, batch: (step(model, batch)[0]/len(batch["x"]), 1, {})
    one, many = make(), make()
    fit(one, whole, mean, settings(epochs=6))
    fit(many, parts, mean, settings(epochs=6, accumulation=3))
    assert max((p - q).abs().max().item() for p, q in zip(one.parameters(), many.parameters())) > 1e-3


def test_the_last_group_of_an_epoch_may_be_short():
    history = fit(make(), batches(), step, settings(epochs=2, accumulation=3))
    assert [r["weight"] for r in history] == [12, 23, 3]*2
    assert history[-1]["epoch"] == 2.0 and [r["tokens"] for r in history[:3]] == [72, 138, 18]


def test_equals_a_plain_loop():
    ours, theirs, parts = make(), make(), batches()
    groups = [{"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.1},
              {"params": [p for p in theirs.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=0.01, fused=True)
    history, losses = fit(ours, parts, step, settings(weight_decay=0.1, clip=0.5)), []
    for t, batch in enumerate(parts + parts):
        for g in adam.param_groups: g["lr"] = 0.01*lr_at(t, 14)
        loss = ((theirs(batch["x"])[:, 0] - batch["y"])**2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        adam.step()
        adam.zero_grad()
        losses.append(loss.item())
    assert max((p - q).abs().max().item() for p, q in zip(ours.parameters(), theirs.parameters())) < 1e-6
    assert max(abs(a - b["loss"]) for a, b in zip(losses, history)) < 1e-5


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("total,warmup,floor", [(1, 0.1, 0.0), (1, 0.0, 0.0), (10, 0.0, 0.1), (10, 1.0, 0.0), (100, 0.07, 0.2)])
def test_schedule(kind, total, warmup, floor):
    rates = [lr_at(t, total, warmup, kind, floor) for t in range(total)]
    climb = math.ceil(warmup*total)
    assert all(0 < r <= 1 for r in rates) and all(r >= floor for r in rates[climb:])
    assert rates[:climb] == sorted(rates[:climb]) and rates[climb:] == sorted(rates[climb:], reverse=True)
    if climb < total: assert rates[climb] == 1.0


def test_schedule_matches_transformers_on_the_slope():
    from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup
    for kind, make_schedule in (("cosine", get_cosine_schedule_with_warmup), ("linear", get_linear_schedule_with_warmup)):
        adam = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
        factor = make_schedule(adam, 10, 100).lr_lambdas[0]
        assert max(abs(factor(t) - lr_at(t, 100, 0.1, kind)) for t in range(10, 100)) < 1e-12
        assert factor(0) == 0 < lr_at(0, 100, 0.1, kind)


def test_decay_groups():
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "ln": nn.LayerNorm(4), "r": orthogonal(nn.Linear(4, 2)), "tied": nn.Linear(4, 4),
                           "frozen": nn.Linear(4, 4), "emb": nn.Embedding(5, 4)})
    model["tied"].weight = model["a"].weight
    model["frozen"].requires_grad_(False)
    names = {id(p): n for n, p in model.named_parameters()}
    groups = {g["weight_decay"]: [names[id(p)] for p in g["params"]] for g in make_optimizer(model, 1e-3, 0.1).param_groups}
    assert groups[0.1] == ["a.weight", "emb.weight"]
    assert sum(map(len, groups.values())) == len(set(sum(groups.values(), []))) == sum(p.requires_grad for p in model.parameters())


def test_orthogonal_weights_stay_orthogonal():
    torch.manual_seed(0)
    model = nn.Sequential(orthogonal(nn.Linear(6, 3, bias=False)), nn.Linear(3, 1))
    fit(model, batches(), step, settings(epochs=5, weight_decay=0.1))
    R = model[0].weight
    assert torch.allclose(R@R.T, torch.eye(3), atol=1e-5)


def test_gradients_are_scaled_and_clipped_in_one():
    model = make()
    model(batches()[3]["x"]).sum().backward()
    grads = [p.grad.clone() for p in model.parameters()]
    norm = torch.cat([g.flatten() for g in grads]).norm().item()/12
    assert abs(scale_gradients(list(model.parameters()), 12, norm/4) - norm) < 1e-4*norm
    for p, g in zip(model.parameters(), grads): assert torch.allclose(p.grad, g/48, rtol=1e-3)
    assert scale_gradients(list(model.parameters()), 1, 0.0) == pytest.approx(norm/4, rel=1e-3)


def test_count_steps():
    assert count_steps([0]*7, settings(epochs=3), 3) == (9, 3)
    assert count_steps([0]*7, settings(max_steps=2), 3) == (2, 3)
    assert count_steps(iter([]), settings(max_steps=5), 1) == (5, math.inf)
    with pytest.raises(ValueError, match="empty"): count_steps([], settings(), 1)
    with pytest.raises(ValueError, match="max_steps"): count_steps((i for i in range(3)), settings(), 1)


# --- sources


def test_a_live_source_needs_no_length():
    class Live:
        "Batches made by the model that is trained."
        def __init__(self, model): self.model, self.made = model, 0
        def __iter__(self):
            while True:
                self.made += 1
                with torch.no_grad(): x = torch.randn(4, 6) + self.model(torch.ones(1, 6)).item()
                yield {"x": x, "y": x.sum(1)}
    model = make()
    source = Live(model)
    history = fit(model, source, step, settings(max_steps=5, accumulation=2))
    assert source.made == 10 and history[-1]["step"] == 5


def test_batches_of_chapter_01_resume(tmp_path):
    from ftlib.data import Batches
    rows = [{"input_ids": [0]*(1 + i % 5), "x": torch.randn(6, generator=torch.Generator().manual_seed(i))} for i in range(33)]

    def source():
        def collate(rows):
            x = torch.stack([r["x"] for r in rows])
            return {"x": x, "y": x.sum(1)}
        return Batches(rows, 4, collate, seed=3)
    s = settings(epochs=3, accumulation=2, save_every=2)
    whole, first, second = make(0.2), make(0.2), make(0.2, seed=9)
    a = fit(whole, source(), step, s, out=tmp_path/"a")
    with pytest.raises(Stop): fit(first, source(), stop_after(17), s, out=tmp_path/"b")
    b = fit(second, source(), step, s, out=tmp_path/"b", resume=True)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), second.parameters())) and timeless(a) == timeless(b)


@pytest.mark.parametrize("n", range(4, 28, 3))
def test_resume_from_anywhere(tmp_path, n):
    s = settings(epochs=4, accumulation=3, save_every=1, log_every=5)
    whole, second = make(0.3), make(0.3, seed=9)
    a = fit(whole, batches(), step, s)
    with pytest.raises(Stop): fit(make(0.3), batches(), stop_after(n), s, out=tmp_path/"b")
    b = fit(second, batches(), step, s, out=tmp_path/"b", resume=True)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), second.parameters()))
    assert timeless(a) == timeless(b) == timeless(History.load(tmp_path/"b"))


def test_resume_matches_uninterrupted_only_with_all_of_the_state(tmp_path):
    "Take one thing out of the checkpoint, and the end is another: the equality above is no accident."
    s = settings(epochs=3, accumulation=2, save_every=2)
    whole = make(0.3)
    fit(whole, batches(), step, s)
    for part in ("rng", "optimizer", "model"):
        out, second = tmp_path/part, make(0.3)
        with pytest.raises(Stop): fit(make(0.3), batches(), stop_after(12), s, out=out)
        state = read_state(out/"checkpoint"/"training.safetensors")
        if part == "rng": state["ranks"][0]["rng"]["torch"] = torch.Generator().manual_seed(3).get_state()
        elif part == "optimizer": state["optimizer"]["0"]["exp_avg"].mul_(1.01)
        else: state["model"]["0.weight"].add_(1e-3)
        write_state(out/"checkpoint"/"training.safetensors", state)
        fit(second, batches(), step, s, out=out, resume=True)
        assert not all(torch.equal(p, q) for p, q in zip(whole.parameters(), second.parameters())), part


def test_a_source_that_cannot_be_resumed_is_named(tmp_path):
    class Once:
        def __iter__(self): return iter(batches())
        def __len__(self): return 7
    s = settings(save_every=1)
    with pytest.raises(Stop): fit(make(), Once(), stop_after(3), s, out=tmp_path/"run")
    with pytest.raises(ValueError, match="Once has no state_dict"): fit(make(), Once(), step, s, out=tmp_path/"run", resume=True)


# --- what stops a run


@pytest.mark.parametrize("value,word", [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_bad_loss_names_step_and_batch(tmp_path, value, word):
    parts, model = batches(), make()
    parts[4]["y"][1] = value
    with pytest.raises(NotFinite) as e: fit(model, parts, step, settings(accumulation=3, save_every=1), out=tmp_path/"run")
    assert "step 2" in str(e.value) and "micro-batch 4 of the epoch (ids 4-0, 4-1)" in str(e.value) and f"the loss is {word}" in str(e.value)
    saved = read_state(tmp_path/"run"/"checkpoint"/"training.safetensors")
    assert saved["step"] == 1 and all(torch.equal(p, saved["model"][n]) for n, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters()) and not model.training


def test_a_bad_gradient_is_noticed_while_the_loss_is_fine():
    def sharp(model, batch):
        loss, weight, metrics = step(model, batch)
        return loss + model[0].weight.sum().sub(model[0].weight.sum().detach()).abs().sqrt(), weight, metrics     # 0, with an infinite slope
    model = make()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(NotFinite, match="step 1: the norm of the gradient is (nan|inf) in micro-batch 0"):
        fit(model, batches(), sharp, settings())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_no_weight_is_an_error():
    with pytest.raises(NotFinite, match="runs over 0 items in micro-batch 0, 1 of"):
        fit(make(), batches(), lambda m, b: (step(m, b)[0], 0, {}), settings(accumulation=2))


def test_describe_shortens():
    assert describe([(3, {"id": list(range(20))})]) == "micro-batch 3 of the epoch (ids 0, 1, 2, 3, 4, 5, 6, 7, …)"
    assert describe([(0, {"id": torch.arange(2)}), (1, [1, 2])]) == "micro-batch 0, 1 of the epoch"


def test_a_run_is_not_overwritten_and_not_confused(tmp_path):
    out, s = tmp_path/"run", settings(save_every=1, accumulation=2)
    with pytest.raises(FileNotFoundError, match="there is no run in .*run"): fit(make(), batches(), step, s, out=out, resume=True)
    with pytest.raises(Stop): fit(make(), batches(), stop_after(5), s, out=out)
    kept = (out/"checkpoint"/"training.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="--resume"): fit(make(), batches(), step, s, out=out)
    with pytest.raises(ValueError, match=r"lr = 0.01, not 0.02"):
        fit(make(), batches(), step, settings(save_every=1, accumulation=2, lr=0.02), out=out, resume=True)
    with pytest.raises(ValueError, match=r"steps = 8, not 2"): fit(make(), batches((1, 2)), step, s, out=out, resume=True)
    wide = nn.Sequential(nn.Linear(6, 25), nn.LayerNorm(25), nn.Tanh(), nn.Dropout(0), nn.Linear(25, 1))
    with pytest.raises(ValueError, match=r"0.weight is \(24, 6\), not \(25, 6\)"): fit(wide, batches(), step, s, out=out, resume=True)
    more = nn.Sequential(*make(), nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"5.weight is absent, not \(1, 1\)"): fit(more, batches(), step, s, out=out, resume=True)
    assert (out/"checkpoint"/"training.safetensors").read_bytes() == kept
    a = fit(make(), batches(), step, settings(save_every=3, accumulation=2, eval_every=2, wandb="off"), out=out, resume=True)
    assert a[-1]["step"] == 8


def test_a_finished_run_is_returned_at_once(tmp_path, capsys):
    first = fit(make(), batches(), step, settings(), out=tmp_path/"run")
    mark = json.loads((tmp_path/"run"/"checkpoint"/"training.json").read_text())
    assert mark["finished"] == 14 and mark["peak_memory_mb"] > 10
    assert sorted(p.name for p in (tmp_path/"run").rglob("*")) == ["checkpoint", "metrics.jsonl", "model.safetensors", "settings.json", "training.json"]
    never = lambda model, batch: pytest.fail("a finished run trains on")
    again = fit(make(), batches(), never, settings(), out=tmp_path/"run", resume=True)
    assert again == first and "is finished" in capsys.readouterr().err
    assert json.loads((tmp_path/"run"/"settings.json").read_text())["lr"] == 0.01
    (tmp_path/"run"/"checkpoint"/"training.json").write_text('{"fini')
    with pytest.raises(ValueError, match="training.json is cut short or damaged"): fit(make(), batches(), never, settings(), out=tmp_path/"run", resume=True)


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    with pytest.raises(Stop): fit(make(0.2), batches(), stop_after(2), settings(), out=tmp_path/"run")
    b = fit(make(0.2), batches(), step, settings(), out=tmp_path/"run", resume=True)
    assert timeless(b) == timeless(fit(make(0.2), batches(), step, settings()))


# --- the probe


def test_a_probe_changes_nothing(tmp_path):
    def probe(model):
        assert not model.training and not torch.is_grad_enabled()
        return {"score": torch.rand(1) + model(torch.zeros(1, 6)).sum()}
    looked, left = make(0.3), make(0.3)
    a = fit(looked, batches(), step, settings(eval_every=3), probe)
    fit(left, batches(), step, settings())
    assert all(torch.equal(p, q) for p, q in zip(looked.parameters(), left.parameters())) and not looked.training
    assert a.column("score")[0] == [3, 6, 9, 12, 14] and all(isinstance(v, float) for v in a.column("score")[1])


# --- files


def test_a_full_disk_leaves_the_earlier_checkpoint_whole(tmp_path):
    out, s, saves = tmp_path/"run", settings(save_every=2), []

    def save(model, folder):
        (folder/"weights").write_bytes(b"x"*1000)
        saves.append(1)
        if len(saves) == 3: raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="could not save .*checkpoint .No space left on device.: the earlier one is whole"):
        fit(make(0.2), batches(), step, s, out=out, save=save)
    assert read_state(out/"checkpoint"/"training.safetensors")["step"] == 4
    assert sorted(p.name for p in out.iterdir()) == ["checkpoint", "metrics.jsonl", "settings.json"]
    whole = fit(make(0.2), batches(), step, s)
    assert timeless(fit(make(0.2), batches(), step, s, out=out, resume=True)) == timeless(whole)


def test_a_disk_that_is_full_for_real(tmp_path):
    "A limit on the size of files stands in for a full disk: the write itself fails, inside safetensors."
    import resource
    import signal
    out, big = tmp_path/"run", nn.Linear(6, 1)
    big.register_buffer("ballast", torch.zeros(300_000))
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with pytest.raises(Stop): fit(copy.deepcopy(big), batches(), stop_after(3), settings(save_every=2), out=out)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        with pytest.raises(OSError, match="could not save .*checkpoint .*the earlier one is whole"):
            fit(big, batches(), step, settings(save_every=2), out=out, resume=True)
        with pytest.raises(OSError, match="could not write .*: what was there before is whole"): atomic_write(out/"settings.json", "x"*300_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert read_state(out/"checkpoint"/"training.safetensors")["step"] == 2
    assert json.loads((out/"settings.json").read_text())["lr"] == 0.01
    assert sorted(p.name for p in out.iterdir()) == ["checkpoint", "metrics.jsonl", "settings.json"]


def test_first_save_on_a_full_disk_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="nothing is left of the attempt"):
        with atomic_dir(tmp_path/"c"): raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_callers_own_stays_what_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError):
        with atomic_dir(tmp_path/"c"): 1/0
    assert not list(tmp_path.iterdir())


def test_state_round_trip(tmp_path):
    state = {"a": torch.randn(3).bfloat16(), "b": [1, None, "x", {"c": torch.tensor(2.0), "d": (1, 2)}], "e": {}, "f": torch.empty(0), "g": 1e-30}
    write_state(tmp_path/"s", state)
    back = read_state(tmp_path/"s")
    assert torch.equal(back["a"], state["a"]) and back["a"].dtype == torch.bfloat16 and torch.equal(back["b"][3]["c"], torch.tensor(2.0))
    assert back["b"][:3] == [1, None, "x"] and back["b"][3]["d"] == [1, 2] and back["e"] == {} and back["f"].numel() == 0 and back["g"] == 1e-30
    assert b"pickle" not in (tmp_path/"s").read_bytes()


def test_random_states_round_trip(tmp_path):
    import random
    import numpy as np
    draw = lambda: (random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item(), torch.randn(1).item())
    draw()
    write_state(tmp_path/"s", rng_state())
    first = draw()
    set_rng_state(read_state(tmp_path/"s"))
    assert draw() == first


def test_live_tensors_are_what_training_changes():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    model.register_buffer("scratch", torch.ones(2), persistent=False)
    assert set(live_tensors(model)) == {"1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked", "2.weight", "2.bias"}
    saved = {k: v.clone() for k, v in live_tensors(model).items()}
    model(torch.randn(4, 2)).sum().backward()
    put_back(model, saved)
    assert all(torch.equal(v, saved[k]) for k, v in live_tensors(model).items())


# --- history


def test_history_round_trip_and_shows_itself(tmp_path):
    history = fit(make(), batches(), step, settings(eval_every=7), lambda m: {"score": 0.5})
    atomic_write(tmp_path/"metrics.jsonl", history.to_jsonl())
    assert History.load(tmp_path) == history == History.load(tmp_path/"metrics.jsonl")
    table = history._repr_markdown_().splitlines()
    assert len(table) == 10 and "score" in table[0] and table[-1].startswith("| 14 ")
    assert len({line.count("|") for line in table}) == 1
    figure = history.plot()
    assert [ax.get_title() for ax in figure.axes] == ["loss", "large", "score"]
    assert [ax.get_title() for ax in history.plot("grad_norm").axes] == ["grad_norm"]
    assert history.last("score") == 0.5 and isinstance(history, list)


def test_history_leaves_an_unfinished_line_out(tmp_path):
    path = tmp_path/"metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert History.load(path) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match="metrics.jsonl is damaged"): History.load(path)


def test_rows_are_means_over_the_steps_between():
    fine, coarse = (fit(make(), batches(), step, settings(log_every=k)) for k in (1, 7))
    assert [r["step"] for r in coarse] == [1, 7, 14]
    mean = lambda key, rows: sum(r[key]*r["weight"] for r in rows)/sum(r["weight"] for r in rows)
    for key in ("loss", "large"): assert coarse[1][key] == pytest.approx(mean(key, fine[1:7]))
    assert coarse[1]["lr"] == fine[6]["lr"] and coarse[1]["tokens"] == sum(r["tokens"] for r in fine[1:7])


# --- precision and tracking


def test_bfloat16_runs_the_forward_under_autocast():
    seen = []

    def watch(model, batch):
        seen.append(model[0](batch["x"]).dtype)
        loss, *rest = step(model, batch)
        return loss.float(), *rest
    model = make()
    fit(model, batches(), watch, settings(epochs=1, dtype="bfloat16"))
    assert set(seen) == {torch.bfloat16} and all(p.dtype == torch.float32 for p in model.parameters())


def test_wandb_offline_leaves_its_files_and_no_key(tmp_path, monkeypatch, capsys):
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    fit(make(), batches(), step, settings(wandb="online"), out=tmp_path/"run")
    assert "tracking offline" in capsys.readouterr().err
    runs = list((tmp_path/"run"/"wandb").glob("offline-run-*/*.wandb"))
    until = time.monotonic() + 30                        # wandb's own process writes the file
    while runs[0].stat().st_size <= 500 and time.monotonic() < until: time.sleep(0.1)
    assert len(runs) == 1 and runs[0].stat().st_size > 500


def test_wandb_key_is_read_and_never_told(tmp_path, monkeypatch, capsys):
    wandb, asked = pytest.importorskip("wandb"), {}
    secret = "0123456789abcdef"*2 + "01234567"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if k != "WANDB_API_KEY"})
    Path(".env").write_text(f"WANDB_API_KEY={secret}\n")
    monkeypatch.setattr(wandb, "init", lambda **kw: asked.update(kw))
    start_wandb(settings(wandb="online"), tmp_path/"run")
    seen = capsys.readouterr()
    assert asked["mode"] == "online" and secret not in seen.out + seen.err + repr(asked)


def test_wandb_off_imports_nothing(): assert start_wandb(settings()) is None
