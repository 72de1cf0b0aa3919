"ReFT's behaviour: what is edited and what is not, padding, caches, files, copies, and one sentence for each thing that cannot be."
import contextlib
import copy
import io
import json

import pytest
import torch
from models import MODELS, build, ragged_batch, ragged_pairs

from ftlib.generate import generate
from ftlib.interventions import COMPONENTS, KINDS, ACTS, parse_positions, position_mask
from ftlib.logps import completion_logps, completion_nll, forward
from ftlib.optim import make_optimizer
from ftlib.reft import ReFTConfig, add_reft, edit_tensors, load_reft, merge_reft, reft_disabled, reft_of, remove_reft, save_reft

SPECS = ("f1", "l1", "f1+l1", "f3+l5", "all")


@torch.no_grad()
def logits(model, side="left", prompt=None):
    ids, mask = ragged_batch(side=side)
    return forward(model, ids, mask, prompt).logits[mask.bool()]


def near(a, b, tolerance=1e-5): return (a - b).abs().max() <= tolerance*max(1, b.abs().max())


# --- positions


@pytest.mark.parametrize("spec,want", [("f1", (1, 0)), ("l2", (0, 2)), ("f3+l5", (3, 5)), ("all", (None, 0))])
def test_parse_positions(spec, want): assert parse_positions(spec) == want


@pytest.mark.parametrize("spec", ["", "f", "f0", "l0", "f1+", "+l1", "l1+f1", "f1+l0", "f1 l1", "f1+f2", "F1", "first", "f-1", None, 3])
def test_bad_positions(spec):
    with pytest.raises(ValueError, match="is none of f<n>, l<n>"): parse_positions(spec)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("spec", SPECS[:-1])
def test_positions_are_pyrefts(spec, side):
    from pyreft.dataset import get_intervention_locations
    lengths = (1, 2, 3, 7, 12)
    mask = ragged_batch(lengths, side=side)[1]
    first, last = position_mask(spec, mask)
    f, l = parse_positions(spec)
    for length, row, a, b in zip(lengths, mask, first, last):
        where = row.nonzero().flatten()
        theirs = get_intervention_locations(last_position=length, first_n=f, last_n=l, share_weights=True, num_interventions=1)[0]
        assert sorted(p for p in theirs if p >= 0) == [i for i, p in enumerate(where.tolist()) if a[p] or b[p]]
        assert not (a & b).any() and not ((a | b) & ~row.bool()).any()


def test_a_prompt_with_a_gap():
    "The turns of a user with an assistant's between: positions are counted over the prompt's tokens alone."
    first, last = position_mask("f2+l1", torch.tensor([[1, 1, 0, 0, 1, 1, 0]]))
    assert first.int().tolist() == [[1, 1, 0, 0, 0, 0, 0]] and last.int().tolist() == [[0, 0, 0, 0, 0, 1, 0]]


def test_all_is_the_whole_prompt():
    mask = torch.tensor([[0, 1, 1], [1, 0, 0]])
    first, last = position_mask("all", mask)
    assert torch.equal(first, mask.bool()) and not last.any()


# --- what is edited


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(name, spec):
    model = add_reft(build(name), ReFTConfig(positions=spec))
    for side in ("left", "right"):
        ids, mask = ragged_batch(side=side)
        whole = forward(model, ids, mask).logits
        for row, keep, got in zip(ids, mask.bool(), whole): assert near(got[keep], model(input_ids=row[keep][None]).logits[0])


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("name", MODELS)
def test_only_the_chosen_positions_change(name, component):
    "A one-token prompt is left alone; in a longer one nothing before the last prompt token changes under l1."
    plain, model = build(name), add_reft(build(name), ReFTConfig(positions="l1", component=component))
    ids = torch.tensor([[3, 5, 7, 9, 11]])
    prompt = torch.tensor([[1, 1, 1, 0, 0]])
    a, b = forward(plain, ids, torch.ones_like(ids), prompt).logits, forward(model, ids, torch.ones_like(ids), prompt).logits
    assert near(a[:, :2], b[:, :2], 1e-6) and not near(a[:, 2:], b[:, 2:], 1e-3)
    one = torch.tensor([[1, 0, 0, 0, 0]])
    assert near(forward(model, ids, torch.ones_like(ids), one).logits, forward(plain, ids, torch.ones_like(ids), one).logits, 0)


@pytest.mark.parametrize("name", MODELS)
def test_layers_are_chosen(name):
    assert len(reft_of(add_reft(build(name), ReFTConfig(layers=[1]))).sites) == 1
    with pytest.raises(ValueError, match="layers = '0,2': this model has the layers 0 … 1"): add_reft(build(name), ReFTConfig(layers="0,2"))


@pytest.mark.parametrize("name", MODELS)
def test_disabled_and_removed(name):
    plain, model = logits(build(name)), add_reft(build(name))
    edited = logits(model)
    assert not near(edited, plain, 1e-2)
    with reft_disabled(model): assert near(logits(model), plain, 0)
    assert near(logits(model), edited, 0)
    assert near(logits(remove_reft(model)), plain, 0) and not hasattr(model, "reft")
    add_reft(model)


@pytest.mark.parametrize("spec", ["f1+l1", "l1", "all"])
@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("name", MODELS)
def test_cached_generation_is_the_uncached_one(name, component, spec):
    model = add_reft(build(name), ReFTConfig(positions=spec, component=component))
    ids, mask = ragged_batch((1, 6, 3, 9), side="left")
    quick = generate(model, ids, mask, 6, temperature=0.0)
    text, seen, prompt = ids, mask, mask
    for _ in range(6):
        with torch.no_grad(): token = forward(model, text, seen, prompt).logits[:, -1].argmax(-1, keepdim=True)
        text, seen = torch.cat([text, token], 1), torch.cat([seen, torch.ones_like(token)], 1)
        prompt = torch.cat([prompt, torch.zeros_like(token)], 1)
    assert torch.equal(quick.sequences, text)
    again, _ = completion_logps(model, text, seen, seen - prompt)
    assert near(again[:, -6:], quick.logps)


@pytest.mark.parametrize("name", MODELS[1:])
def test_transformers_own_generate(name):
    model = add_reft(build(name))
    ids = torch.tensor([[3, 5, 7, 9]])
    theirs = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert torch.equal(theirs, generate(model, ids, max_new_tokens=6, temperature=0.0).sequences)


def test_a_copy_edits_with_its_own_numbers():
    model = add_reft(build("gpt2_ours"))
    twin = copy.deepcopy(model)
    before = logits(twin)
    with torch.no_grad():
        for p in reft_of(model).parameters():
            if p.ndim == 1: p.add_(1.0)
    assert near(logits(twin), before, 0) and not near(logits(model), before, 1e-2)


def test_a_wrong_mask_is_told():
    model = add_reft(build("gpt2_ours"))
    ids = torch.tensor([[3, 5, 7]])
    with pytest.raises(ValueError, match="ReFT wants a mask of \\(1, 3\\), not \\(1, 2\\)"): forward(model, ids, None, torch.ones(1, 2))


# --- training


@pytest.mark.parametrize("kind", ["loreft", "direft", "consreft", "lobireft"])
def test_a_rotation_survives_training_with_decay(kind):
    model = add_reft(build("gpt2_ours"), ReFTConfig(kind=kind))
    optimizer = make_optimizer(model, 1e-2, weight_decay=0.1)
    ids, mask, done = ragged_pairs()
    for _ in range(20):
        completion_nll(model, ids, mask, done)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    for site in reft_of(model).sites:
        for edit in site.edits: assert near(edit.R.T @ edit.R, torch.eye(4))


def test_plain_adamw_destroys_it_in_one_step():
    model = add_reft(build("gpt2_ours"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    ids, mask, done = ragged_pairs()
    completion_nll(model, ids, mask, done)[0].backward()
    optimizer.step()
    assert all(edit.R.abs().max() == 0 for site in reft_of(model).sites for edit in site.edits)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_on_the_edit(kind):
    torch.manual_seed(0)
    edit, h = KINDS[kind](32, 4, dropout=0.5), torch.randn(200, 32)
    ratio = edit(h)/edit.eval()(h)
    assert ((ratio.abs() < 1e-6) | ((ratio - 2).abs() < 1e-3)).all() and 0.4 < (ratio.abs() < 1e-6).float().mean() < 0.6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["gpt2_ours", "qwen2_hf"])
def test_other_precisions(name, dtype):
    model = add_reft(build(name).to(dtype))
    assert {p.dtype for p in reft_of(model).parameters()} == {torch.promote_types(dtype, torch.float32)}
    assert logits(model).dtype == dtype
    with torch.autocast("cpu", torch.bfloat16): logits(add_reft(build(name)))


# --- files


CONFIGS = [ReFTConfig(kind=kind, positions=spec, tied=tied, dropout=0.1, act=act, component=component, rank=3, layers="1")
           for kind, spec, tied, act, component in zip(KINDS, ("f1+l1", "f1+l1", "l2", "all", "f3+l5", "f1"), (True, False)*3,
                                                       ("relu", None, "gelu", "silu", None, None), COMPONENTS)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kind}-{c.component}")
@pytest.mark.parametrize("name", MODELS)
def test_round_trip_to_the_last_bit(name, config, tmp_path):
    model = add_reft(build(name), config)
    optimizer = make_optimizer(model, 1e-2)
    ids, mask, done = ragged_pairs()
    for _ in range(2):
        completion_nll(model, ids, mask, done)[0].backward()
        optimizer.step()
    save_reft(model.eval(), tmp_path)
    fresh, state = build(name), torch.get_rng_state()
    again = load_reft(fresh, tmp_path)
    assert reft_of(again).config == reft_of(model).config
    for (k, a), (_, b) in zip(edit_tensors(model).items(), edit_tensors(again).items()): assert torch.equal(a, b) and a.dtype == b.dtype, k
    assert near(logits(again), logits(model), 0)
    assert torch.equal(torch.get_rng_state(), state)           # loading draws nothing from the reader's generator


def test_a_dtype_of_ones_own_comes_back(tmp_path):
    model = add_reft(build("gpt2_ours"), ReFTConfig(kind="noreft"))
    reft_of(model).bfloat16()
    save_reft(model, tmp_path)
    again = load_reft(build("gpt2_ours"), tmp_path)
    assert {p.dtype for p in reft_of(again).parameters()} == {torch.bfloat16} and near(logits(again), logits(model), 0)


def test_a_classifiers_head_comes_along(tmp_path):
    from ftlib.classify import Classifier
    model = add_reft(Classifier(build("gpt2_ours"), 3))
    save_reft(model, tmp_path)
    again = load_reft(Classifier(build("gpt2_ours"), 3), tmp_path)
    assert torch.equal(again.score.weight, model.score.weight) and again.score.weight.requires_grad
    with pytest.raises(ValueError, match="score.weight is \\(3, 32\\), this model's \\(4, 32\\)"): load_reft(Classifier(build("gpt2_ours"), 4), tmp_path)
    save_reft(add_reft(build("gpt2_ours")), tmp_path)
    with pytest.raises(ValueError, match="has no head for this model"): load_reft(Classifier(build("gpt2_ours"), 3), tmp_path)


def damaged(folder, what):
    from safetensors import safe_open
    from safetensors.torch import save_file
    config, file = json.loads((folder/"reft_config.json").read_text()), folder/"reft_model.safetensors"
    with safe_open(file, "pt") as f: tensors, meta = {k: f.get_tensor(k) for k in f.keys()}, f.metadata()
    if what == "cut": return file.write_bytes(file.read_bytes()[:-50])
    if what == "gone": return file.unlink()
    if what == "kind": config["kind"] = "lorft"
    if what == "field": config["ranks"] = 3
    if what == "layer": config["layers"] = [7]
    if what == "rank": config["rank"] = 2
    if what == "half": tensors = dict(list(tensors.items())[1:])
    if what == "stranger": tensors["x"] = torch.ones(1)
    (folder/"reft_config.json").write_text(json.dumps(config))
    save_file(tensors, file, meta)


DAMAGES = {"cut": "is cut short or damaged", "gone": "there is no reft_model.safetensors", "kind": "did you mean 'loreft'", "field": "ranks",
           "layer": "has the layers 0 … 1", "rank": "this model and rank want", "half": "lacks the tensor", "stranger": "holds x"}


@pytest.mark.parametrize("what", DAMAGES)
def test_what_does_not_fit_is_told_and_changes_nothing(what, tmp_path):
    save_reft(add_reft(build("gpt2_ours")), tmp_path)
    damaged(tmp_path, what)
    model = build("gpt2_ours")
    before = logits(model)
    with pytest.raises((ValueError, FileNotFoundError, KeyError), match=DAMAGES[what]): load_reft(model, tmp_path)
    assert not hasattr(model, "reft") and near(logits(model), before, 0) and all(p.requires_grad for p in model.parameters())


def test_another_base_model_is_told(tmp_path):
    save_reft(add_reft(build("gpt2_ours")), tmp_path)
    with pytest.raises(ValueError, match="another base model"): load_reft(build("gpt2_ours", seed=1), tmp_path)
    load_reft(build("gpt2_hf"), tmp_path)


BAD = {
    lambda: ReFTConfig(kind="lorefd"): "unknown kind 'lorefd' \\(did you mean 'loreft'",
    lambda: ReFTConfig(component="block"): "unknown component 'block'",
    lambda: ReFTConfig(rank=0): "rank = 0 must be",
    lambda: ReFTConfig(act="swish2"): "unknown act",
    lambda: ReFTConfig(dropout=-0.1): "dropout = -0.1",
    lambda: ReFTConfig(positions="x"): "positions = 'x'",
    lambda: add_reft(build("gpt2_ours"), ReFTConfig(rank=33)): "rank 33 does not fit in states of 32 numbers",
    lambda: add_reft(add_reft(build("gpt2_ours"))): "has a ReFT adapter already",
    lambda: merge_reft(add_reft(build("gpt2_ours"))): "ReFT cannot be merged: it edits hidden states",
    lambda: merge_reft(build("gpt2_ours")): "has no ReFT adapter",
    lambda: remove_reft(build("gpt2_ours")): "has no ReFT adapter",
}


@pytest.mark.parametrize("attempt,says", BAD.items(), ids=BAD.values())
def test_bad_input(attempt, says):
    with pytest.raises((ValueError, KeyError), match=says): attempt()


# --- pyreft's folders


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize("kind,act", [("loreft", None), ("loreft", "relu"), ("noreft", None), ("direft", None), ("nodireft", None),
                                      ("consreft", None), ("lobireft", None)])
def test_pyrefts_folders(kind, act, untied, tmp_path):
    import pyreft
    make = getattr(pyreft.interventions, f"{kind.capitalize()}Intervention")
    more = {"act_fn": act} if act else {}
    torch.manual_seed(3)
    spots = [{"layer": i, "component": "block_output", "low_rank_dimension": 4,
              "intervention": make(embed_dim=32, low_rank_dimension=4, dtype=torch.float32, add_bias=False, **more)} for i in [0, 1]*(1 + untied)]
    peer = pyreft.get_reft_model(build("gpt2_hf"), pyreft.ReftConfig(representations=spots))
    with contextlib.redirect_stdout(io.StringIO()): peer.save(str(tmp_path/"folder"))
    ours = load_reft(build("gpt2_ours"), tmp_path/"folder", positions="f1+l1", act=act)
    ids = torch.tensor([[3, 5, 7, 9, 11, 2]])
    where = [[[0]], [[0]], [[5]], [[5]]] if untied else [[[0, 5]], [[0, 5]]]
    with torch.no_grad(): theirs = peer({"input_ids": ids}, unit_locations={"sources->base": (None, where)})[1].logits
    assert near(forward(ours, ids).logits, theirs)
    assert reft_of(ours).config.tied is not untied and reft_of(ours).config.kind == kind
    save_reft(ours, tmp_path/"ours")
    assert near(logits(load_reft(build("gpt2_hf"), tmp_path/"ours")), logits(ours))


@pytest.mark.filterwarnings("ignore")
def test_a_pickle_that_runs_code_is_not_run(tmp_path):
    import pickle                                        # to write what must not be read
    spot = [0, "block_output", "pos", 1, 4] + [None]*9
    (tmp_path/"config.json").write_text(json.dumps({"representations": [spot], "intervention_types": ["<class 'pyreft.interventions.LoreftIntervention'>"]}))
    with pytest.raises(FileNotFoundError, match="lacks intkey_layer_0"): load_reft(build("gpt2_ours"), tmp_path)

    class Bomb:
        def __reduce__(self): return (open, (str(tmp_path/"boom"), "w"))
    (tmp_path/"intkey_layer_0_comp_block_output_unit_pos_nunit_1#0.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="holds more than tensors, or is damaged"): load_reft(build("gpt2_ours"), tmp_path)
    assert not (tmp_path/"boom").exists()


def test_every_activation_is_transformers_own():
    from transformers.activations import ACT2FN
    x = torch.linspace(-4, 4, 101)
    for name, f in ACTS.items():
        if name: assert near(f(x), ACT2FN[name](x), 1e-6)
