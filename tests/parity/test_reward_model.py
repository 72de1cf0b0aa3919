"A Bradley-Terry reward model beside trl's RewardTrainer: loss, gradients and what it logs, on the same pairs and weights."
import pytest
import torch
from models import MODELS, VOCAB, build, random_rows
from trl_side import gradients, reward_trainer, whole_batch

from ftlib.pairs import collate_apart
from ftlib.reward_model import new_reward_model, reward_step

from .gauge import close

pytestmark = pytest.mark.filterwarnings("ignore")
PROMPTS, CHOSEN, REJECTED = (1, 5, 3, 8, 1, 6), (4, 1, 6, 2, 1, 7), (2, 3, 1, 5, 1, 4)
PAD = 1                                          # of trl's tokenizer


def rows(end=None):
    "Texts of a prompt and a reply as trl's trainer takes them; no row holds the pad token, unless it ends with it."
    cut = lambda lengths, seed: [[2 if i == PAD else i for i in row] for row in random_rows(lengths, VOCAB, seed)]
    last = [] if end is None else [end]
    both = zip(cut(PROMPTS, 1), cut(CHOSEN, 2), cut(REJECTED, 3))
    return [{"prompt_ids": p, "chosen_ids": c + last, "rejected_ids": r + last} for p, c, r in both]


def score(): return 0.2*torch.randn(1, 32, generator=torch.Generator().manual_seed(5))


def hf(name): return name.replace("ours", "hf")


def theirs(name, tmp_path, examples):
    "The trainer's loss, gradients, accuracy and margin."
    from transformers import AutoModelForSequenceClassification
    base = build(hf(name))
    base.save_pretrained(tmp_path/"base")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path/"base", num_labels=1)
    model.score.weight.data.copy_(score())
    texts = [{key: e["prompt_ids"] + e[key] for key in ("chosen_ids", "rejected_ids")} for e in examples]
    trainer = reward_trainer(model, texts, tmp_path/"trl")
    loss, grads = gradients(model, trainer.compute_loss(model.train(), whole_batch(trainer)))
    return loss, grads, {key: trainer._metrics["train"][key][0] for key in ("accuracy", "margin")}


def ours(name, batch):
    model = new_reward_model(build(name)).eval()
    model.score.weight.data.copy_(score())
    total, n, metrics = reward_step(model, batch)
    loss, grads = gradients(model, total/n)
    return loss, {key.removeprefix("model."): g for key, g in grads.items()}, {key: float(x)/n for key, x in metrics.items()}


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients(name, tmp_path):
    want = theirs(name, tmp_path, rows())
    close(ours(name, collate_apart(rows())), want)
    shifted = collate_apart(rows())
    shifted["attention_mask"][:, -1] = 0                                             # the longest text loses its last token
    with pytest.raises(AssertionError): close(ours(name, shifted), want)


def test_where_a_text_ends(tmp_path):
    "Where padding and the end of a text are one token, transformers reads the score a token early; ours reads by the mask."
    plain, ended = (theirs("gpt2_hf", tmp_path/str(end), rows(end))[0] for end in (None, PAD))
    assert abs(plain - ended) < 1e-6
    mine = [ours("gpt2_hf", collate_apart(rows(end)))[0] for end in (None, PAD)]
    assert abs(mine[0] - plain) < 1e-5 and abs(mine[1] - mine[0]) > 1e-2
