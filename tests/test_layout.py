"Several texts in one row: who sees whom against loops, rows alone on every model, packing with adapters, what is refused."
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import MODELS, VOCAB, build, gpt2_hf, random_rows

from ftlib.data import pad_rows
from ftlib.layout import attention_of, before, best_fit, is_real, model_mask, places, roots, visible
from ftlib.logps import completion_logps, completion_nll, forward, keeps_apart
from ftlib.lora import LoRAConfig, add_lora
from ftlib.reft import ReFTConfig, add_reft, position_mask
from ftlib.sft import collate_sft, pack

# a row: texts by their lengths, and which earlier text each continues (0: none)
trees = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=5).map(
    lambda texts: [(n, p if p < i and (p == 0 or texts[p - 1][1] == 0) else 0) for i, (n, p) in enumerate(texts, 1)])
batches = st.lists(st.tuples(trees, st.integers(0, 3), st.booleans()), min_size=1, max_size=3)


def as_tensors(rows):
    "(segment, parent), both (b, t), of rows (texts, how much padding at least, is it on the left)."
    segment = [[s for s, (n, _) in enumerate(texts, 1) for _ in range(n)] for texts, _, _ in rows]
    parent = [[p for n, p in texts for _ in range(n)] for texts, _, _ in rows]
    t = max(len(row) + pad for row, (_, pad, _) in zip(segment, rows))
    fill = lambda row, left: [0]*(t - len(row))*left + row + [0]*(t - len(row))*(not left)
    return tuple(torch.tensor([fill(row, left) for row, (_, _, left) in zip(part, rows)]) for part in (segment, parent))


@settings(max_examples=150, deadline=None)
@given(batches)
def test_everything_against_loops(rows):
    segment, parent = as_tensors(rows)
    seen = visible(segment, parent)
    for r in range(len(rows)):
        s, p = segment[r].tolist(), parent[r].tolist()
        sees = lambda i: [j for j in range(i + 1) if s[i] and s[j] and s[j] in (s[i], p[i])]
        for i in range(len(s)):
            assert seen[r, i].nonzero().flatten().tolist() == sees(i)
            assert is_real(seen)[r, i] == bool(s[i])
            assert places(seen)[r, i] == max(len(sees(i)) - 1, 0)
            assert before(seen)[r, i] == (sees(i)[-2] if len(sees(i)) > 1 else -1)
            assert roots(seen)[r, i] == (sees(i)[0] + 1 if s[i] else 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4))
def test_the_token_before_in_a_common_mask(rows):
    "Padding anywhere, in the middle too."
    mask = torch.tensor(rows)
    for row, found in zip(rows, before(mask).tolist()):
        for i, real in enumerate(row):
            if real: assert found[i] == max((j for j in range(i) if row[j]), default=-1)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 30), max_size=60), st.integers(30, 60))
def test_best_fit(lengths, width):
    "Every text once, no row too long, as few rows as bins need, up to best-fit decreasing's known bound."
    rows = best_fit(lengths, width)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    used = [sum(lengths[i] for i in row) for row in rows]
    assert all(0 < n <= width for n in used) and all(row == sorted(row) for row in rows)
    assert sum(used[i] + used[j] <= width for i in range(len(used)) for j in range(i)) == 0        # no two rows would have fitted into one
    assert len(rows) <= 11/9*-(-sum(lengths)//width) + len(rows)*.5 + 1
    assert rows == best_fit(lengths, width)


def test_best_fit_at_the_edges():
    assert best_fit([], 8) == [] and best_fit([8], 8) == [[0]] and best_fit([8, 8], 8) == [[0], [1]]
    assert best_fit([5, 3, 6, 2], 8) == [[2, 3], [0, 1]]
    with pytest.raises(ValueError, match="text 2 has 9 tokens and a row holds 8"): best_fit([1, 2, 9], 8)


# --- rows alone


def tree_batch(seed=0):
    """(ids, mask (b, t, t), completion mask, rows alone): a prompt with two replies, three packed texts, one text on the left.
    Each row alone is (its columns, how many of them are prompt)."""
    segment = torch.tensor([[1]*4 + [2]*3 + [3]*2 + [0], [1]*3 + [2] + [3]*5 + [0], [0]*4 + [1]*6])
    parent = torch.tensor([[0]*4 + [1]*5 + [0], [0]*10, [0]*10])
    ids = torch.tensor(random_rows([10, 10, 10], seed=seed))
    done = torch.tensor([[0]*4 + [1]*5 + [0], [0, 1, 1, 0, 0, 0, 0, 1, 1, 0], [0]*5 + [1]*5])
    alone = [(0, [0, 1, 2, 3, 4, 5, 6], 4), (0, [0, 1, 2, 3, 7, 8], 4), (1, [0, 1, 2], 1), (1, [3], 1), (1, [4, 5, 6, 7, 8], 3), (2, [4, 5, 6, 7, 8, 9], 1)]
    return ids, visible(segment, parent), done, alone


EAGER = {"attn_implementation": "eager"}
each_model = pytest.mark.parametrize("name, kw", [*((name, {}) for name in MODELS), *((name, EAGER) for name in MODELS[1:])],
                                     ids=lambda x: x if isinstance(x, str) else x.get("attn_implementation", "sdpa"))


def alone_logps(model, ids, alone):
    "Log-probs of each reply, from the logits of its row alone."
    out = []
    for row, columns, prompt in alone:
        text = ids[row, columns][None]
        logps = model(input_ids=text).logits[0].log_softmax(-1)
        out.append(torch.stack([logps[i - 1, text[0, i]] for i in range(prompt, text.shape[1])]) if prompt < text.shape[1] else logps.new_zeros(0))
    return out


def close(got, want, eps=1e-5): assert (got - want).abs().max() <= eps*max(1, want.abs().max().item())


@each_model
def test_a_row_of_texts_equals_its_texts_alone(name, kw):
    model, (ids, seen, done, alone) = build(name, **kw), tree_batch()
    assert attention_of(model) == kw.get("attn_implementation", "sdpa")
    logits = forward(model, ids, seen).logits
    assert logits.isfinite().all()                                        # padding too
    for row, columns, _ in alone: close(logits[row, columns], model(input_ids=ids[row, columns][None]).logits[0])
    logps, kept = completion_logps(model, ids, seen, done)
    assert torch.equal(kept.bool(), done[:, 1:].bool())
    want = torch.cat(alone_logps(model, ids, alone))
    got = torch.cat([logps[0, 3:6], logps[0, 6:8], logps[1, :2], logps[1, 6:8], logps[2, 4:]])
    close(got, want)
    nll, n = completion_nll(model, ids, seen, done)
    close(nll, -want.sum())
    grads = []
    for loss in ((got.square()).sum(), nll, (want.square()).sum(), -want.sum()):
        model.zero_grad()
        loss.backward(retain_graph=True)
        grads.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for ours, theirs in ((grads[0], grads[2]), (grads[1], grads[3])):
        assert max(g.abs().max() for g in theirs.values()) > 1e-2
        for key in theirs: close(ours[key], theirs[key], 2e-5)


@pytest.mark.parametrize("name", ["gpt2_ours", "qwen2_hf"])
def test_in_float64_too(name):
    model, (ids, seen, done, alone) = build(name).double(), tree_batch(3)
    with torch.no_grad(): close(completion_nll(model, ids, seen, done)[0], -torch.cat(alone_logps(model, ids, alone)).sum(), 1e-9)


def test_a_text_does_not_know_of_the_others(any_model):
    "Whatever stands in the other texts, not one bit changes beyond rounding; and a mask that lets them through is noticed."
    ids, seen, done, _ = tree_batch()
    other = ids.clone()
    other[1, :4] = (other[1, :4] + 7) % VOCAB
    with torch.no_grad(): one, two, leaky = (forward(any_model, x, m).logits[1, 4:9] for x, m in ((ids, seen), (other, seen), (other, seen.any(1, keepdim=True).expand_as(seen).tril())))
    close(one, two, 1e-6)
    assert (leaky - one).abs().max() > .1


# --- which models can


@each_model
def test_these_keep_apart(name, kw):
    model = build(name, **kw).train()
    assert keeps_apart(model) and model.training


class Stub(torch.nn.Module):
    "A model of one layer of mean attention that may ignore what it is told."
    def __init__(self, mask=True, positions=True):
        super().__init__()
        self.embed, self.place, self.mask, self.positions = torch.nn.Embedding(9, 4), torch.nn.Embedding(9, 4), mask, positions
        self.config = type("Config", (), {})()
    def forward(self, input_ids, attention_mask=None, position_ids=None):
        t = input_ids.shape[1]
        told = attention_mask is not None and attention_mask.dim() == 4 and self.mask
        seen = attention_mask[:, 0].float() if told else torch.ones(t, t).tril().expand(len(input_ids), t, t)
        at = position_ids if self.positions and position_ids is not None else torch.arange(t)
        x = self.embed(input_ids) + self.place(at)
        return type("Output", (), {"logits": x + (seen/seen.sum(-1, keepdim=True)) @ x})()


def test_a_model_that_does_not_listen_is_found_out():
    torch.manual_seed(0)
    assert keeps_apart(Stub())
    assert not keeps_apart(Stub(mask=False)) and not keeps_apart(Stub(positions=False))


def test_refusals():
    class Placeless(torch.nn.Module):
        def forward(self, input_ids, attention_mask=None): return None
    bare = Placeless()
    bare.config = type("Config", (), {})()
    seen = visible(torch.tensor([[1, 1, 2]]))
    with pytest.raises(ValueError, match="Placeless makes its own positions: its rows cannot hold several texts"): model_mask(bare, seen)
    model = gpt2_hf()
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(ValueError, match="need attention by sdpa or eager, and this GPT2LMHeadModel has flash_attention_2"): forward(model, torch.zeros(1, 3, dtype=torch.long), seen)


def test_the_two_forms_of_a_mask():
    "Padding sees itself alone, so that no softmax runs over nothing; eager's numbers are in the model's precision."
    seen = visible(torch.tensor([[1, 1, 2, 0]]))
    told = model_mask(gpt2_hf(), seen)
    assert told.dtype == torch.bool and told.shape == (1, 1, 4, 4) and told[0, 0].sum(-1).tolist() == [1, 2, 1, 1]
    numbers = model_mask(gpt2_hf(attn_implementation="eager").bfloat16(), seen)
    assert numbers.dtype == torch.bfloat16 and torch.equal(numbers == 0, told)


def test_wrong_shapes_are_told():
    model, (ids, seen, done, _) = build("gpt2_ours"), tree_batch()
    with pytest.raises(ValueError, match="attention_mask is"): completion_logps(model, ids[:, :-1], seen, done[:, :-1])


# --- adapters on packed rows


def test_positions_of_numbered_prompts():
    "Prompts that share a row get the places that each gets alone."
    prompts = [3, 1, 6, 2]
    text = torch.tensor([[i for i, n in enumerate(prompts, 1) for _ in range(n)]])
    for spec in ("f1+l1", "f2", "l3", "f3+l2", "all"):
        for packed, alone in zip(position_mask(spec, text), zip(*(position_mask(spec, torch.ones(1, n)) for n in prompts))):
            assert torch.equal(packed, torch.cat(alone, 1)), spec


examples = [{"input_ids": row, "completion_mask": [0]*p + [1]*(len(row) - p)} for row, p in zip(random_rows([7, 4, 9, 2, 6, 5]), (3, 1, 6, 1, 2, 4))]


@pytest.mark.parametrize("adapter", ["none", "lora", "reft", "reft_all"])
def test_packed_rows_equal_padded_ones(any_model, adapter):
    "Loss and gradients of what is trained, the adapter away from its start."
    if adapter == "lora": add_lora(any_model, LoRAConfig(r=2))
    if adapter.startswith("reft"): add_reft(any_model, ReFTConfig(rank=2, positions="all" if adapter == "reft_all" else "f1+l1"))
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in any_model.parameters():
            if p.requires_grad and adapter != "none": p.add_(torch.randn(p.shape, generator=g)*.1)
    packed = pack(examples, 16)
    assert len(packed) < len(examples)
    found = []
    for rows in (examples, packed):
        any_model.zero_grad()
        batch = collate_sft(rows)
        loss, n = completion_nll(any_model, batch["input_ids"], batch["attention_mask"], batch["completion_mask"])
        loss.backward()
        found.append((loss.detach(), n, {name: p.grad.clone() for name, p in any_model.named_parameters() if p.grad is not None}))
    assert found[0][1] == found[1][1] == sum(sum(e["completion_mask"]) for e in examples)
    close(found[1][0], found[0][0])
    assert found[0][2] and found[0][2].keys() == found[1][2].keys()
    for key, g in found[0][2].items(): close(found[1][2][key], g, 2e-5)


def test_packed_rows_hold_every_example_once():
    packed = pack(examples, 16)
    texts = [(tuple(i for i, t in zip(e["input_ids"], e["text"]) if t == k), tuple(m for m, t in zip(e["completion_mask"], e["text"]) if t == k))
             for e in packed for k in range(1, max(e["text"]) + 1)]
    assert sorted(texts) == sorted((tuple(e["input_ids"]), tuple(e["completion_mask"])) for e in examples)
    batch = collate_sft(packed, side="left")
    assert batch["attention_mask"].shape == (len(packed), *[batch["input_ids"].shape[1]]*2)
    assert torch.equal(pad_rows([e["text"] for e in packed], side="left")[0] > 0, is_real(batch["attention_mask"]))
