"Preference training from the command line: from SFT to a policy, its scores, its judges, its files, and what goes wrong."
import json
import shutil
from pathlib import Path

import pytest
import torch
from models import build
from test_cli import ftlib, one_sentence, scores  # noqa: F401

from ftlib.data import load_tokenizer
from ftlib.gpt2 import load_model
from ftlib.reward_model import new_reward_model

TRIAL = ("--dev-mode", "--set", "answers=2", "--set", "max_new_tokens=6", "--set", "max_steps=2")
DPO = ("train", "dpo", "ultrafeedback", *TRIAL)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    "Small checkpoints of three shapes with the embedded tokenizer: name -> folder."
    tokenizer, folder = load_tokenizer("tiny"), tmp_path_factory.mktemp("shapes")
    for name in ("gpt2_ours", "qwen2_hf", "llama_hf"):
        build(name, vocab=len(tokenizer), n_positions=512).save_pretrained(folder/name)
        tokenizer.save_pretrained(folder/name)
    return folder


def test_from_sft_to_a_policy_and_all_that_follows(ftlib, tmp_path):  # noqa: F811
    code, out, err = ftlib("train", "sft", "smoltalk", *TRIAL, "--set", "packing=true", "--out", "runs/sft")
    assert code == 0 and "nats per token" in out, err
    for adapter in ("none", "lora"):
        code, out, err = ftlib(*DPO, "--model", "runs/sft", "--adapter", adapter, "--out", f"runs/{adapter}")
        assert code == 0 and "ultrafeedback · test · tiny" in out, err
        assert {"win rate", "reward accuracy", "judge's score", "reward margin", "reply's words"} <= {line.split(":")[0] for line in scores(out).splitlines()}
        code, again, err = ftlib("eval", f"runs/{adapter}")
        assert code == 0 and scores(again) == scores(out), err
    report = json.loads(Path("runs/lora/report.json").read_text())
    assert report["preference"]["n"] == 8 and report["wins"]["n"] == 2 and report["trainable"] < report["parameters"]
    assert json.loads(Path("runs/lora/settings.json").read_text())["model"] == "runs/sft"
    model, tokenizer = load_model("tiny", device="cpu")
    critic = new_reward_model(model)
    torch.nn.init.normal_(critic.score.weight)
    critic.save_pretrained(tmp_path/"judge", tokenizer)
    code, out, err = ftlib("eval", "runs/lora", "--judge", tmp_path/"judge", "--split", "train", "--n", "5")
    assert code == 0 and "win rate" in out and "of 5" in scores(out) and "ultrafeedback · train" in out, err
    for wrong, words in (("tiny", "a reward model has one label; this one has none"), ("nowhere", "nowhere")):
        code, _, err = ftlib("eval", "runs/lora", "--judge", wrong)
        assert code == 1 and words in one_sentence(err)
    code, out, err = ftlib("compare", "runs/none", "runs/lora")
    assert code == 0 and "reward accuracy" in out and "later run minus first run" in out and Path("runs/compare-ultrafeedback-test.png").is_file(), err
    code, out, err = ftlib("generate", "runs/lora", "Who feeds the hens?", "--max-new-tokens", "6", "--temperature", "0")
    assert code == 0 and out.startswith("Who feeds the hens?\n"), err
    code, out, err = ftlib("eval", "runs/lora", "smoltalk", "--n", "4")
    assert code == 0 and "nats per token" in out, err                       # another task, as a language model
    code, out, err = ftlib("train", "sft", "ultrafeedback", *TRIAL, "--model", "runs/lora", "--out", "runs/on")
    assert code == 0, err


@pytest.mark.parametrize("more", [("--adapter", "reft"), ("--adapter", "head"), ("--set", "kind=simpo", "--set", "beta=2"), ("--set", "reference=precomputed"),
                                  ("--adapter", "reft", "--set", "reference=adapter"), ("--adapter", "lora", "--set", "reference=copy"),
                                  ("--set", "kind=cdpo", "--set", "label_smoothing=0.1", "--set", "sft_weight=0.5"), ("--profile", "cuda", "--model", "tiny", "--source", "tiny", "--set", "dtype=float32")],
                         ids=lambda more: " ".join(w for w in more if w[0] != "-")[:40])
def test_a_trial_of_every_way(ftlib, more):  # noqa: F811
    code, out, err = ftlib(*DPO, *more)
    assert code == 0 and "a trial" in out, err
    run = Path("runs/dpo-ultrafeedback-dev")
    assert (run/"reference.safetensors").is_file() == ("reference=precomputed" in more or "cuda" in more)
    code, again, err = ftlib("eval", run)
    assert code == 0 and scores(again) == scores(out), err


@pytest.mark.parametrize("name", ["gpt2_ours", "qwen2_hf", "llama_hf"])
@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_export_has_the_same_logits_in_transformers(ftlib, shapes, tmp_path, name, adapter):  # noqa: F811
    from transformers import AutoModelForCausalLM

    from ftlib.evaluate import load_run
    from ftlib.logps import forward
    code, out, err = ftlib(*DPO, "--model", shapes/name, "--adapter", adapter, "--set", "lora=r=4 alpha=64", "--out", "run")
    assert code == 0, err
    code, again, err = ftlib("eval", "run")
    assert code == 0 and scores(again) == scores(out), err
    code, _, err = ftlib("export", "run", "plain")
    assert code == 0 and not list(Path("plain").glob("adapter*")), err
    theirs, run = AutoModelForCausalLM.from_pretrained("plain", dtype=torch.float32).eval(), load_run("run", "cpu")
    ids = torch.tensor([run.tokenizer.encode("Olga has a red door and Ben a blue one.")])
    with torch.no_grad(): ours, peer = forward(run.model, ids, torch.ones_like(ids)).logits, theirs(input_ids=ids).logits
    assert (ours - peer).abs().max() < 1e-5*max(1, peer.abs().max())


@pytest.mark.parametrize("name", ["gpt2_ours", "qwen2_hf", "llama_hf"])
def test_real_rows(ftlib, shared_data, shapes, name):  # noqa: F811
    "Two steps each of SFT, packed, and of DPO on real rows; the counts of rows are said."
    real = ("--source", shared_data, "--set", "max_length=256", "--set", "rows=24")
    code, out, err = ftlib("train", "sft", "smoltalk", *TRIAL, *real, "--set", "packing=true", "--model", shapes/name, "--out", "sft")
    assert code == 0, err
    code, out, err = ftlib(*DPO, *real, "--set", "answers=20", "--model", "sft", "--out", "run")     # some prompts are longer than the model reads
    assert code == 0 and "reward accuracy" in out and "win rate" not in out and "reply's words" in out, err     # nobody knows the truth of real replies
    code, again, err = ftlib("eval", "run")
    assert code == 0 and scores(again) == scores(out), err


@pytest.mark.parametrize("words, code, part", [
    (("--set", "reference=adapter"), 1, "adapter = none has none: take copy or precomputed, or adapter = lora or reft"),
    (("--adapter", "head", "--set", "reference=adapter"), 1, "adapter = head has none"),
    (("--set", "reference=adaptor"), 2, "unknown reference 'adaptor' (did you mean 'adapter'?)"),
    (("--set", "kind=sigmod"), 2, "unknown kind 'sigmod' (did you mean 'sigmoid'?)"),
    (("--set", "label_smoothing=0.1"), 1, "kind = sigmoid does not read label_smoothing = 0.1; robust, cdpo"),
    (("--set", "kind=exo_pair"), 1, "label_smoothing: it must be more than 0"),
    (("--set", "beta=0"), 1, "beta"), (("--set", "bad_pairs=drop"), 2, "unknown bad_pairs 'drop'"), (("--set", "packing=true"), 2, "unknown setting of dpo.ultrafeedback: 'packing'"),
    (("--model", "runs/none"), 1, "there is no folder runs/none either"), (("--source", "nowhere"), 1, "there is no folder 'nowhere'"),
    (("--adapter", "reft", "--set", "reft=kind=consreft"), 1, "kind = consreft changes the output from the start"),
    (("--resume", "--out", "nothing"), 1, "there is no run in nothing"), (("--resume", "--out", "nothing", "--set", "reference=precomputed"), 1, "there is no run in nothing")])
def test_mistakes_get_one_sentence(ftlib, words, code, part):  # noqa: F811
    got, _, err = ftlib(*DPO, *words)
    assert got == code and part in one_sentence(err)


def test_the_wrong_task(ftlib):  # noqa: F811
    code, _, err = ftlib("train", "dpo", "gsm8k")
    assert code == 2 and "unknown task of dpo: 'gsm8k'" in one_sentence(err)


LINE = '{"prompt": "Q %s", "chosen": "a good one", "rejected": "b or not"}\n'


@pytest.mark.parametrize("text, part", [
    ("", "empty"), ('{"prompt": "Q", "chosen": "a"}\n', "rejected"), (LINE % 1 + '{"prompt": "Q", "cho', "train.jsonl:2"),
    ('{"prompt": "Q", "chosen": "a", "rejected": "a"}\n'*2, "there are no pairs to learn from"),
    (LINE % ("SPLIT " + "word "*400), "no pair of 1 teaches a preference within max_length = 160"),
    ('{"prompt": "Q", "chosen": [{"role": "user", "content": "Q"}, {"role": "judge", "content": "a"}], "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "b"}]}\n', "judge")],
    ids=["empty", "column", "half a line", "identical", "long prompts", "role"])
def test_bad_files_get_one_sentence(ftlib, tmp_path, text, part):  # noqa: F811
    (tmp_path/"data"/"ultrafeedback").mkdir(parents=True)
    for split in ("train", "test"): (tmp_path/"data"/"ultrafeedback"/f"{split}.jsonl").write_text(text.replace("SPLIT", split))
    code, out, err = ftlib(*DPO, "--source", "data")
    assert code == 1 and part in one_sentence(err), err


def test_good_pairs_among_bad_ones(ftlib, tmp_path):  # noqa: F811
    "Left out and counted, or refused if asked."
    (tmp_path/"data"/"ultrafeedback").mkdir(parents=True)
    for split in ("train", "test"):
        (tmp_path/"data"/"ultrafeedback"/f"{split}.jsonl").write_text("".join(LINE % (f"{split} {i} " + "word "*400*(i % 2)) for i in range(8)))
    with pytest.warns(UserWarning, match="4 of 8 pairs are left out: 4 whose prompt leaves no room within 160 tokens; the first is row"): code, out, err = ftlib(*DPO, "--source", "data", "--set", "answers=0")
    assert code == 0 and "of 4" in scores(out), err
    code, _, err = ftlib(*DPO, "--source", "data", "--set", "bad_pairs=refuse", "--out", "other")
    assert code == 1 and "4 of 8 pairs teach no preference" in one_sentence(err)


def test_a_damaged_reference_is_no_dead_end(ftlib):  # noqa: F811
    "Killed while the file was written: the same command goes on, or says which file to remove."
    words = (*DPO, "--set", "reference=precomputed", "--out", "run")
    assert ftlib(*words)[0] == 0
    shutil.rmtree("run/checkpoint")
    path = Path("run/reference.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    code, _, err = ftlib(*words)
    assert code == 0 or "reference.safetensors is cut short or damaged" in one_sentence(err)
