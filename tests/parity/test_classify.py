"""The classifier against transformers' ForSequenceClassification: logits, loss and every gradient, over models, label weights and precision.

Ids here avoid 0, which is what transformers takes for padding; what it does with a text that ends in 0 is a test of its own.
"""
import pytest
import torch
import transformers
from models import MODELS, build, pad
from torch.nn import functional as F

from ftlib.classify import Classifier, classify_step

from .gauge import close, gap

LENGTHS = (9, 1, 4, 12, 1, 7)
LABELS = torch.tensor([0, 1, 2, 2, 1, 0])
WEIGHTS = {"plain": None, "weighted": torch.tensor([.2, 1., 5.])}


def batch(side="right", seed=0):
    g = torch.Generator().manual_seed(seed)
    ids, mask = pad([torch.randint(1, 97, (n,), generator=g).tolist() for n in LENGTHS], side)
    return {"input_ids": ids, "attention_mask": mask, "labels": LABELS}


def both(name, folder):
    "Our classifier with a wide head, and transformers' reading of what it saved."
    torch.manual_seed(0)
    ours = Classifier(build(name), 3, labels=["no", "maybe", "yes"]).eval()
    torch.nn.init.normal_(ours.score.weight, std=.3)
    ours.save_pretrained(folder)
    return ours, transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()


def compare(ours, theirs, b, weights):
    "Ours and theirs: logits, loss, and every gradient."
    logits = theirs(input_ids=b["input_ids"], attention_mask=b["attention_mask"]).logits
    expected = F.cross_entropy(logits, b["labels"], weight=weights)
    loss, weight, metrics = classify_step(ours, b, weights)
    expected.backward()
    (loss/weight).backward()
    got = {k.removeprefix("model."): p.grad for k, p in ours.named_parameters() if p.grad is not None and not k.endswith("lm_head.weight")}
    want = {k.removeprefix("model."): p.grad for k, p in theirs.named_parameters()}
    got = {k.removeprefix("model."): g for k, g in got.items()}
    assert got.keys() == want.keys()
    hits = (logits.argmax(1) == b["labels"]).float()
    assert (metrics["accuracy"]/weight).item() == pytest.approx(((hits if weights is None else hits*weights[LABELS]).sum()/weight).item())
    mine = ours(b["input_ids"], b["attention_mask"])
    return (mine, loss/weight, got), (logits, expected, want)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", MODELS)
def test_logits_loss_and_gradients(name, weights, tmp_path):
    ours, theirs = both(name, tmp_path)
    close(*compare(ours, theirs, batch(), WEIGHTS[weights]))


@pytest.mark.parametrize("name", MODELS)
def test_in_double_precision(name, tmp_path):
    ours, theirs = both(name, tmp_path)
    close(*compare(ours.double(), theirs.double(), batch(), None), 1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_a_shifted_mask_fails(name, tmp_path):
    ours, theirs = both(name, tmp_path)
    b = batch()
    b["attention_mask"] = b["attention_mask"].roll(-1, 1)
    b["attention_mask"][:, 0] = 1                           # every row still has a token
    expected = theirs(input_ids=b["input_ids"], attention_mask=batch()["attention_mask"]).logits
    assert gap(ours(b["input_ids"], b["attention_mask"]), expected)[0] > 1e-2


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(name, pooling):
    model = Classifier(build(name), 3, pooling).eval()
    torch.nn.init.normal_(model.score.weight, std=.3)
    right, left = batch("right"), batch("left")
    rows = [ids[m.bool()][None] for ids, m in zip(right["input_ids"], right["attention_mask"])]
    with torch.no_grad():
        alone = torch.cat([model(row) for row in rows])
        for b in (right, left):
            close(model(b["input_ids"], b["attention_mask"]), alone)
            b["input_ids"][b["attention_mask"] == 0] = 55   # and the pad's id neither
            close(model(b["input_ids"], b["attention_mask"]), alone)


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_that_transformers_wrote(name, tmp_path):
    ours, theirs = both(name, tmp_path/"ours")
    theirs.save_pretrained(tmp_path/"theirs", max_shard_size="20KB")       # sharded
    again = Classifier.from_pretrained(tmp_path/"theirs", device="cpu")
    b = batch()
    with torch.no_grad(): close(again(b["input_ids"], b["attention_mask"]), ours(b["input_ids"], b["attention_mask"]))
    assert again.labels == ["no", "maybe", "yes"] and again.pooling == "last" and not again.training
    trained = sum(p.numel() for p in again.parameters() if p.requires_grad)
    assert trained == sum(p.numel() for p in theirs.parameters())


# --- where transformers is meant to differ


def test_transformers_gpt2_is_wrong_on_the_left(tmp_path):
    ours, theirs = both("gpt2_hf", tmp_path)
    right, left = batch("right"), batch("left")
    with torch.no_grad():
        truth = theirs(input_ids=right["input_ids"], attention_mask=right["attention_mask"]).logits
        assert gap(theirs(input_ids=left["input_ids"], attention_mask=left["attention_mask"]).logits, truth)[0] > 1e-2
        close(ours(left["input_ids"], left["attention_mask"]), truth)


@pytest.mark.parametrize("name", ["gpt2_ours", "qwen2_hf"])
def test_transformers_misreads_a_text_that_ends_in_the_pad_token(name, tmp_path):
    ours, theirs = both(name, tmp_path)
    row = torch.tensor([[5, 6, 7, 0]])
    longer = F.pad(row, (0, 2))
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    with torch.no_grad():
        truth = ours(row)
        close(ours(longer, mask), truth)
        assert gap(theirs(input_ids=longer, attention_mask=mask).logits, truth)[0] > 1e-2


def test_mean_pooling_is_ours_alone(tmp_path):
    model = Classifier(build("gpt2_ours"), 3, "mean").eval()
    torch.nn.init.normal_(model.score.weight, std=.3)
    model.save_pretrained(tmp_path)
    again, theirs = Classifier.from_pretrained(tmp_path, device="cpu"), transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    b = batch()
    with torch.no_grad():
        assert again.pooling == "mean"
        assert torch.equal(again(b["input_ids"], b["attention_mask"]), model(b["input_ids"], b["attention_mask"]))
        assert gap(theirs.eval()(input_ids=b["input_ids"], attention_mask=b["attention_mask"]).logits, model(b["input_ids"], b["attention_mask"]))[0] > 1e-2
