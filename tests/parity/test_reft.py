"ReFT beside pyreft: the same base, edits carried over tensor by tensor, locations given as pyreft wants them."
import pytest
import torch
from models import MODELS, build, ragged_pairs

from ftlib.interventions import COMPONENTS, KINDS, two_edits
from ftlib.logps import completion_nll, forward
from ftlib.reft import ReFTConfig, add_reft, parse_positions, reft_of

from .gauge import close

pytestmark = pytest.mark.filterwarnings("ignore")
PEERS = {"loreft": "Loreft", "noreft": "Noreft", "direft": "Direft", "nodireft": "Nodireft", "consreft": "Consreft", "lobireft": "Lobireft"}
PROMPTS, LAYERS = (1, 5, 3, 8, 2), 2


def widths(component): return 16 if component in ("key_output", "value_output") else 32


def pyreft_model(name, config):
    "pyreft's model with random weights of std 0.2 in its edits."
    import pyreft
    base = build(name.replace("ours", "hf"))
    d = 32 if name.startswith("gpt2") else widths(config.component)
    make = getattr(pyreft.interventions, f"{PEERS[config.kind]}Intervention")
    more = {"act_fn": config.act} if config.act else {}
    spots = [{"layer": i, "component": config.component, "low_rank_dimension": config.rank,
              "intervention": make(embed_dim=d, low_rank_dimension=config.rank, dtype=torch.float32, add_bias=config.bias, **more)}
             for i in list(range(LAYERS))*(1 + two_edits(config))]
    model = pyreft.get_reft_model(base, pyreft.ReftConfig(representations=spots))
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in edits_of(model):
            for n, q in p.named_parameters():
                noise = torch.randn(q.shape, generator=g)*0.2
                q.add_(noise.tril(-1) if "original" in n else noise)          # a diagonal off ±1 makes R zero
    return model


def edits_of(model):
    "pyreft's interventions in the order of its representations."
    return list(model.interventions.values())


@torch.no_grad()
def carry(theirs, ours, config):
    "pyreft's parameters, those of the reflections and their base too, into our edits."
    edits = edits_of(theirs)
    for j in range(1 + two_edits(config)):
        for i, site in enumerate(reft_of(ours).sites):
            peer = torch.nn.Module.state_dict(edits[j*LAYERS + i])
            mine = site.edits[j]
            mine.load_state_dict({k: peer[k] for k in mine.state_dict()})
    return ours


def locations(config, prompts, t, both):
    "unit_locations for right-padded rows, as pyreft's data set makes them; its filler, a position of no interest, is left out by the caller."
    import pyreft
    rows = [pyreft.dataset.get_intervention_locations(last_position=p, positions=config.positions, num_interventions=LAYERS*(1 + both),
                                                      share_weights=config.tied, pad_mode="last") for p in prompts]
    return [[row[k] for row in rows] for k in range(LAYERS*(1 + both))]


def batch(side="right"): return ragged_pairs(prompts=PROMPTS, completions=(4, 1, 6, 2, 1), side=side)


def one(theirs, config, row):
    "pyreft's logits of one unpadded row: its filler positions would have to be real ones, so rows go one by one."
    import pyreft
    ids, p = row
    first, last = parse_positions(config.positions)
    spots = [pyreft.dataset.get_intervention_locations(last_position=p, first_n=min(first, p//2), last_n=min(last, p//2), share_weights=config.tied,
                                                       num_interventions=LAYERS*(1 + two_edits(config)))]
    if not spots[0][0]: return theirs.model(input_ids=ids[None]).logits
    where = {"sources->base": (None, [[s] for s in spots[0]])}
    return theirs({"input_ids": ids[None]}, unit_locations=where)[1].logits


def their_rows(theirs, config):
    ids, mask, done = batch()
    return [one(theirs, config, (row[m.bool()], p)) for row, m, p in zip(ids, mask, PROMPTS)]


def compare(ours, theirs, config, side):
    ids, mask, done = batch(side)
    with torch.no_grad():
        logits = forward(ours, ids, mask, mask & ~done.bool()).logits
        for row, m, want in zip(logits, mask, their_rows(theirs, config)): close(row[m.bool()], want[0])


def compare_gradients(ours, theirs, config, side):
    ids, mask, done = batch(side)
    total, n = completion_nll(ours, ids, mask, done)
    (total/n).backward()
    right = batch()
    losses = []
    for logits, row, m, d in zip(their_rows(theirs, config), *right):
        labels = row.masked_fill(d == 0, -100)[m.bool()]
        losses.append(torch.nn.functional.cross_entropy(logits[0, :-1], labels[1:], reduction="sum"))
    loss = sum(losses)/n
    close(total/n, loss)
    loss.backward()
    seen = 0
    for j in range(1 + two_edits(config)):
        for i, site in enumerate(reft_of(ours).sites):
            peer = dict(edits_of(theirs)[j*LAYERS + i].named_parameters())
            for k, p in site.edits[j].named_parameters():
                if p.grad is None: assert peer[k].grad is None
                else: close(p.grad, peer[k].grad)
                seen += p.grad is not None and bool(p.grad.any())
    assert seen and {n for n, p in ours.named_parameters() if p.grad is not None} <= {n for n, _ in ours.named_parameters() if "reft." in n}


def paired(name, config):
    theirs = pyreft_model(name, config)
    return carry(theirs, add_reft(build(name), config), config), theirs


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("positions,tied", [("f1+l1", True), ("f1+l1", False), ("f2+l2", False), ("f3", False), ("l1", False)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_kinds_and_positions(name, kind, positions, tied, side):
    config = ReFTConfig(kind=kind, positions=positions, tied=tied)
    ours, theirs = paired(name, config)
    compare(ours, theirs, config, side)
    compare_gradients(ours, theirs, config, side)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("name", MODELS)
def test_components(name, component):
    config = ReFTConfig(component=component, tied=True)
    ours, theirs = paired(name, config)
    compare(ours, theirs, config, "left")
    compare_gradients(ours, theirs, config, "left")


@pytest.mark.parametrize("rank", [1, 2, 8])
@pytest.mark.parametrize("kind,act,bias", [("loreft", "relu", False), ("direft", "silu", False), ("noreft", None, True), ("nodireft", "gelu", True)])
@pytest.mark.parametrize("name", MODELS)
def test_ranks_and_activations(name, kind, act, bias, rank):
    config = ReFTConfig(kind=kind, rank=rank, act=act, bias=bias)
    ours, theirs = paired(name, config)
    compare(ours, theirs, config, "left")
    compare_gradients(ours, theirs, config, "left")
