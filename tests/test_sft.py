"SFT: what is learnt, what is cut, runs from the command line's function, and the six tasks on real rows."
import json
import math
import warnings
from itertools import chain, islice, repeat

import pytest
import torch
from models import build

from ftlib.completions import READINGS, answer_report, prompt_as_trained, ratio_ci
from ftlib.data import load_tokenizer
from ftlib.evaluate import evaluate, load_run, train_run
from ftlib.settings import load_settings
from ftlib.sft import SFTStream, collate_sft, completion_costs, prompt_chat, prompt_ids, respond, sft_batches, sft_examples, sft_loss
from ftlib.tasks import TASKS, load_task

SFT_TASKS = [name for name, task in TASKS.items() if task.kind != "classify"]


@pytest.fixture(scope="module")
def tokenizer(): return load_tokenizer("tiny")


def test_every_kind_becomes_examples(tokenizer):
    for name in SFT_TASKS:
        rows = load_task(name, "train", source="tiny", n=8)
        for e in sft_examples(rows, tokenizer, 512):
            assert len(e["input_ids"]) == len(e["completion_mask"]) and 0 < sum(e["completion_mask"]) < len(e["input_ids"])
            assert e["input_ids"][-1] == tokenizer.eos_token_id and e["completion_mask"][-1] == 1 and e["completion_mask"][0] == 0


def test_the_completion_is_what_follows_the_prompt(tokenizer):
    row, = load_task("gsm8k", "train", source="tiny", n=1)
    e, = sft_examples([row], tokenizer)
    learnt = [i for i, m in zip(e["input_ids"], e["completion_mask"]) if m]
    assert tokenizer.decode(learnt) == row["solution"] + "<|endoftext|>"
    assert e["input_ids"][:len(e["input_ids"]) - len(learnt)] == prompt_ids([row["prompt"]], tokenizer)[0]


def test_what_is_cut_is_said(tokenizer):
    rows = [{"prompt": "a b c d e f g h", "completion": "yes"}, {"prompt": "a", "completion": "b c d e f g h"}, {"prompt": "a", "completion": "b"}]
    with pytest.warns(UserWarning, match="2 of 3 rows are longer than 6 tokens and lose their end; 1 have nothing to learn"): kept = sft_examples(rows, tokenizer, 6)
    assert [len(e["input_ids"]) for e in kept] == [6, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(sft_examples(rows, tokenizer, 64)) == 3
    with pytest.raises(ValueError, match="no row has a token to learn within max_length = 2"): sft_examples(rows[:1], tokenizer, 2)
    with pytest.raises(ValueError, match="max_length = 1 must be at least 2"): sft_examples(rows, tokenizer, 1)


def test_empty_prompts_and_completions(tokenizer):
    for e in sft_examples([{"prompt": "", "completion": "b"}, {"prompt": "a", "completion": ""}], tokenizer): assert sum(e["completion_mask"]) in (1, 2)
    with pytest.raises(ValueError, match="row 0 has a prompt and nothing to learn"): sft_examples([{"prompt": "a", "solution": None}], tokenizer)
    with pytest.raises(ValueError, match="nothing to complete in rows with the columns id, label, text"): sft_examples([{"id": 1, "text": "a", "label": 0}], tokenizer)
    with pytest.raises(ValueError, match="columns none"): sft_examples([], tokenizer)


def test_accumulated_equals_the_big_batch(any_model, tokenizer):
    rows = [{"prompt": "a"*i, "completion": "b"*(7 - i)} for i in range(1, 7)]
    examples = [e | {"input_ids": [i % 97 for i in e["input_ids"]]} for e in sft_examples(rows, tokenizer)]
    with torch.no_grad():
        whole = sft_loss(any_model, collate_sft(examples))
        parts = [sft_loss(any_model, collate_sft(examples[i:i + 2])) for i in (0, 2, 4)]
    assert whole[1] == sum(n for _, n, _ in parts) and whole[0].item() == pytest.approx(sum(loss.item() for loss, *_ in parts), rel=1e-5)


def test_costs_are_in_the_order_of_the_rows(tokenizer):
    model, rows = load_run("tiny", "cpu").model, load_task("gsm8k", "test", source="tiny", n=10)
    nats, tokens = completion_costs(model, rows, tokenizer, batch_size=3)
    for i, row in enumerate(rows):
        alone = completion_costs(model, [row], tokenizer)
        assert nats[i].item() == pytest.approx(alone[0].item(), rel=1e-4) and tokens[i] == alone[1]


def test_replies_do_not_depend_on_the_batch(tokenizer):
    model, prompts = load_run("tiny", "cpu").model, prompt_ids(load_task("gsm8k", "test", source="tiny", n=5)["prompt"], tokenizer)
    together = respond(model, tokenizer, prompts, 20, batch_size=5)
    assert together == [respond(model, tokenizer, [p], 20)[0] for p in prompts] and not model.training


def test_ratio_intervals():
    assert ratio_ci([2.0, 4.0], [1.0, 2.0]) == (2.0, 2.0)
    low, high = ratio_ci([1.0, 0.0]*50, [1.0]*100)
    assert low < 0.5 < high and high - low < 0.3
    with pytest.raises(ValueError): ratio_ci([1.0], [1.0, 2.0])


def test_answers_are_read_both_ways():
    report, rows = answer_report(["so 7\n#### 7", "it is 8", "none"], ["7", "8", "9"], READINGS["gsm8k"], ["7", "7", "1"])
    assert report["strict"]["right"] == pytest.approx(1/3) and report["lenient"]["right"] == pytest.approx(2/3)
    assert report["commonest"]["says"] == "7" and report["commonest"]["right"] == pytest.approx(1/3) and report["n"] == 3


def quick(task, **kw): return load_settings(f"sft.{task}", profile="cpu", device="cpu", **({"max_steps": 3, "answers": 8, "max_new_tokens": 30} | kw))


def test_a_run_scores_the_same_from_its_folder(tmp_path):
    run = train_run(quick("gsm8k", max_steps=25), tmp_path/"run")
    assert evaluate(tmp_path/"run") == run.report == json.loads((tmp_path/"run"/"report.json").read_text())
    assert run.report["nats_per_token"] < run.report["untrained"]["nats_per_token"] - 0.2 and run.report["perplexity"] == pytest.approx(math.exp(run.report["nats_per_token"]))
    assert {p.name for p in (tmp_path/"run").iterdir()} >= {"settings.json", "metrics.jsonl", "checkpoint", "report.json", "curves.png"}
    from transformers import AutoModelForCausalLM
    peer, ids = AutoModelForCausalLM.from_pretrained(tmp_path/"run"/"checkpoint", dtype=torch.float32), torch.tensor([[5, 9, 200]])
    with torch.no_grad(): assert (peer(ids).logits - load_run(tmp_path/"run", "cpu").model(ids).logits).abs().max() < 1e-4
    again = train_run(quick("smoltalk", model=str(tmp_path/"run")), None)            # a warm start from a run
    assert again.report["task"] == "smoltalk" and "answers" not in again.report


@pytest.mark.parametrize("task,stream", [("fever_reason", False), ("smoltalk", True)])
def test_a_run_that_was_cut_resumes(tmp_path, monkeypatch, task, stream):
    "Stopped in the fourth step, gone on with from the second: the same weights as without the stop, whatever the source of its rows."
    settings, calls = quick(task, max_steps=6, answers=0, save_every=2, stream=stream), []
    whole = train_run(settings, tmp_path/"whole")
    def stop(model, batch):
        calls.append(1)
        if len(calls) == 4: raise KeyboardInterrupt
        return sft_loss(model, batch)
    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr("ftlib.jobs.sft_loss", stop)
        train_run(settings, tmp_path/"cut")
    resumed = train_run(settings, tmp_path/"cut", resume=True)
    for (name, a), (_, b) in zip(whole.model.state_dict().items(), resumed.model.state_dict().items()): assert torch.equal(a, b), name
    assert resumed.report == whole.report


def test_a_stream_gives_every_row_once_an_epoch(tokenizer):
    rows = load_task("smoltalk", "train", source="tiny", streaming=True)
    stream, kept = SFTStream(rows, tokenizer, batch_size=7), load_task("smoltalk", "train", source="tiny")
    epochs = [sorted(tuple(ids[mask.bool()].tolist()) for b in stream for ids, mask in zip(b["input_ids"], b["attention_mask"])) for _ in range(2)]
    assert epochs[0] == epochs[1] == sorted(tuple(e["input_ids"]) for e in sft_examples(kept, tokenizer, 256))
    first, second = ([b["input_ids"].tolist() for b in islice(stream, 3)] for _ in range(2))
    assert first != second                                      # each epoch has an order of its own


@pytest.mark.parametrize("at", [1, 63, 64, 65, 129])
def test_a_stream_goes_on_where_it_stopped(tokenizer, at):
    rows = load_task("smoltalk", "train", source="tiny", streaming=True)
    one, other = SFTStream(rows, tokenizer, batch_size=7), SFTStream(rows, tokenizer, batch_size=7)
    batches = chain.from_iterable(repeat(one))
    for _ in range(at): next(batches)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for a, b in zip(islice(batches, 70), chain.from_iterable(repeat(other))): assert torch.equal(a["input_ids"], b["input_ids"])


def test_a_stream_says_what_it_cuts_once(tokenizer):
    rows = [{"prompt": "a", "completion": "b c d e f g h"}]*200 + [{"prompt": "a b c d e f", "completion": "b"}]
    with pytest.warns(UserWarning, match="in the first window 64 of 64 rows are longer than 4 tokens") as said: batches = list(SFTStream(rows, tokenizer, 1, max_length=4))
    assert len(said) == 1 and len(batches) == 200
    with pytest.raises(ValueError, match="no rows"): list(SFTStream([], tokenizer))
    with pytest.raises(ValueError, match="batch_size = 0"): SFTStream(rows, tokenizer, 0)


def test_a_stream_reads_no_further_than_its_window(tokenizer):
    read = []
    def rows():
        for i in range(10_000):
            read.append(i)
            yield {"prompt": "a", "completion": "b"}
    next(iter(SFTStream(rows(), tokenizer, batch_size=2)))
    assert len(read) == 128


def test_a_stream_wants_max_steps():
    with pytest.raises(ValueError, match="say with max_steps how many steps to take"): train_run(quick("smoltalk", stream=True, max_steps=0))


def test_replies_end_as_the_models_own_template_ends_them():
    "A base model with a chat template: its end-of-text token never comes, the template's own end of a turn does."
    own = load_tokenizer("tiny")
    own.chat_template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|pad|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    model, end = load_run("tiny", "cpu").model, own.convert_tokens_to_ids("<|pad|>")
    batch = collate_sft(sft_examples([{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}]}], own))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(12):
        loss, n, _ = sft_loss(model, batch)
        (loss/n).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert batch["input_ids"][0, -1] == end and respond(model, own, [prompt_chat([{"role": "user", "content": "Hi"}], own)], 40) == ["Yes."]


def test_scores_without_what_they_are_compared_with(tmp_path):
    "The model a run started from may be gone; the run's own scores stay."
    train_run(quick("gsm8k", answers=0), tmp_path/"first")
    train_run(quick("gsm8k", model=str(tmp_path/"first"), answers=2), tmp_path/"second")
    assert "untrained" in evaluate(tmp_path/"second", n=4)
    (tmp_path/"first").rename(tmp_path/"gone")
    with pytest.warns(UserWarning, match="the scores before the training are left out: .*first"): report = evaluate(tmp_path/"second", n=4)
    assert "untrained" not in report and report["n"] == 4 and report["answers"]["commonest"]["ci"]


def test_real_claims_are_answered_without_a_reasoning_to_compare_with(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = evaluate("tiny", "fever_reason", source=shared_data, n=6)
    assert report["n"] == report["answers"]["n"] == 6 and "nats_per_token" not in report and "ci" in report["answers"]["verdict"]


def test_prompts_in_the_form_of_the_training(tokenizer):
    read = lambda task: tokenizer.decode(prompt_as_trained("How many?", tokenizer, task), skip_special_tokens=False)
    assert read("smoltalk") == read("ultrafeedback") == "<|user|>How many?\n<|assistant|>"
    assert read("gsm8k") == "How many?\n" and read("") == read("liar?") == "How many?"


def test_an_adapter_that_does_not_fit_is_refused():
    with pytest.raises(KeyError, match="unknown adapter 'loar'"): quick("gsm8k", adapter="loar")
    with pytest.raises(ValueError, match="there are c_attn, c_fc, c_proj"): train_run(quick("gsm8k", adapter="lora", lora="targets=q_proj"))


@pytest.mark.parametrize("task", [name for name in SFT_TASKS if name != "fever_reason"])
def test_real_rows_on_a_qwen2_shape(shared_data, tmp_path, task):
    tokenizer = load_tokenizer("tiny")
    model = build("qwen2_hf", vocab=len(tokenizer), n_positions=512)
    model.save_pretrained(tmp_path/"qwen")
    tokenizer.save_pretrained(tmp_path/"qwen")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = load_task(task, "train", source=shared_data, n=40)
        batches = sft_batches(rows, tokenizer, 8, max_length=200)
        before = sum(sft_loss(model, b)[0].item() for b in batches)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(2):
            for batch in batches:
                loss, n, _ = sft_loss(model, batch)
                (loss/n).backward()
                optimizer.step()
                optimizer.zero_grad()
        assert sum(sft_loss(model, b)[0].item() for b in batches) < before


def test_real_reasons_have_nothing_to_learn(shared_data):
    with pytest.raises(ValueError, match="its completion is None"): train_run(quick("fever_reason", source=str(shared_data)))
