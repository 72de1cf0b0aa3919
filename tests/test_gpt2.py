"GPT-2 checkpoints: opened by transformers and opened from it, in every layout; and what is refused, in one sentence."
import json
import struct

import models
import pytest
import torch
from ftlib.gpt2 import GPT2LM, GPT2Config, checkpoint_folder, load_model, read_config, read_weights, to_transformers_names
from ftlib.settings import resource
from safetensors.torch import load_file, save_file

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def logits(model):
    with torch.no_grad(): return model(input_ids=IDS).logits


def equal(a, b): return (logits(a) - logits(b)).abs().max() <= 1e-5*max(1, logits(b).abs().max())


@pytest.fixture
def folder(tmp_path):
    "A checkpoint of ours."
    models.gpt2_ours().save_pretrained(tmp_path/"m")
    return tmp_path/"m"


def edit_config(folder, **changes):
    path = folder/"config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder, change):
    state = load_file(folder/"model.safetensors")
    change(state)
    save_file(state, folder/"model.safetensors", metadata={"format": "pt"})


# --- both ways


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_opens_ours(tmp_path, tied):
    from transformers import AutoModelForCausalLM
    ours = models.widen(GPT2LM(GPT2Config(vocab_size=97, n_positions=64, n_embd=32, n_layer=2, n_head=4, tie_word_embeddings=tied)), seed=3)
    ours.save_pretrained(tmp_path)
    theirs, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert type(theirs).__name__ == "GPT2LMHeadModel" and equal(ours, theirs.eval())
    assert (theirs.lm_head.weight is theirs.transformer.wte.weight) is tied


@pytest.mark.parametrize("tied", [True, False])
def test_we_open_transformers(tmp_path, tied):
    theirs = models.gpt2_hf(seed=4, tie_word_embeddings=tied)
    theirs.save_pretrained(tmp_path)
    ours = GPT2LM.from_pretrained(tmp_path)
    assert equal(ours, theirs) and not ours.training
    assert (ours.lm_head.weight is ours.transformer.wte.weight) is tied
    assert all(p.requires_grad and p.dtype is torch.float32 and p.is_leaf for p in ours.parameters())


def test_shards(tmp_path):
    theirs = models.gpt2_hf(seed=5)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2 and not (tmp_path/"model.safetensors").exists()
    assert equal(GPT2LM.from_pretrained(tmp_path), theirs)
    next(tmp_path.glob("*-00002-of-*")).unlink()
    with pytest.raises(FileNotFoundError, match="lacks model-00002-of-.*, which its index names"): GPT2LM.from_pretrained(tmp_path)


def test_openais_upload(folder):
    "No prefix, causal masks stored as weights, no head."
    ours = GPT2LM.from_pretrained(folder)

    def as_uploaded(state):
        for k in list(state): state[k.removeprefix("transformer.")] = state.pop(k)
        for i in range(2):
            state[f"h.{i}.attn.bias"] = torch.ones(64, 64).tril()[None, None]
            state[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    edit_weights(folder, as_uploaded)
    assert "h.0.attn.bias" in read_weights(folder)
    again = GPT2LM.from_pretrained(folder)
    assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), again.parameters(), strict=True))


def test_real_biases_survive_the_renaming():
    names = [n for n, _ in models.gpt2_ours().named_parameters()]
    assert set(to_transformers_names(dict.fromkeys(names, 0))) == set(names)


def test_round_trip_is_exact_and_keeps_foreign_keys(folder, tmp_path):
    edit_config(folder, summary_type="cls_index", task_specific_params={"a": {"b": 1}})
    GPT2LM.from_pretrained(folder).save_pretrained(tmp_path/"again")
    assert (tmp_path/"again"/"model.safetensors").read_bytes() == (folder/"model.safetensors").read_bytes()
    assert read_config(tmp_path/"again") == read_config(folder)


def test_half_precision_on_disk_is_float32_in_memory_and_says_so_when_saved(folder, tmp_path):
    "transformers opens weights in the precision that config.json names: a left-over float16 would round what was learned."
    from transformers import AutoModelForCausalLM
    edit_weights(folder, lambda state: state.update({k: v.half() for k, v in state.items()}))
    edit_config(folder, dtype="float16", torch_dtype="float16")
    ours = GPT2LM.from_pretrained(folder)
    assert ours.dtype is torch.float32 and GPT2LM.from_pretrained(folder, dtype=torch.float16).dtype is torch.float16
    with torch.no_grad(): ours.transformer.wte.weight.mul_(1.0001)
    ours.save_pretrained(tmp_path/"again")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path/"again").eval()
    assert theirs.dtype is torch.float32 and equal(ours, theirs)


def test_saving_over_the_folder_it_came_from(folder):
    model = GPT2LM.from_pretrained(folder)
    with torch.no_grad(): model.transformer.h[0].mlp.c_fc.weight.add_(1)
    want = logits(model)
    model.save_pretrained(folder)
    assert torch.equal(logits(GPT2LM.from_pretrained(folder)), want) and torch.equal(logits(model), want)


def test_a_full_disk_leaves_the_old_files_and_one_sentence(folder):
    "A limit on the size of files stands in for the disk: the write breaks off in the middle, in safetensors' own code."
    import resource as limits
    before, model = {p.name: p.read_bytes() for p in folder.iterdir()}, GPT2LM.from_pretrained(folder)
    soft, hard = limits.getrlimit(limits.RLIMIT_FSIZE)
    limits.setrlimit(limits.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="could not write the model to .*: the files there before are whole") as e: model.save_pretrained(folder)
    finally: limits.setrlimit(limits.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(e.value)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize("shape,count", [((768, 12, 12), 124439808), ((1024, 24, 16), 354823168), ((1280, 36, 20), 774030080), ((1600, 48, 25), 1557611200)])
def test_all_four_sizes(shape, count):
    from transformers import GPT2Config as TheirConfig, GPT2LMHeadModel
    sizes = dict(zip(("n_embd", "n_layer", "n_head"), shape))
    with torch.device("meta"): ours, theirs = GPT2LM(GPT2Config(**sizes)), GPT2LMHeadModel(TheirConfig(**sizes))
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    assert sum(p.numel() for p in ours.parameters()) == count


@pytest.mark.parametrize("name", ["llama_hf", "qwen2_hf"])
def test_other_families_are_transformers_own(tmp_path, tiny_data, name):
    if not (tiny_data/"model"/"tokenizer.json").exists(): pytest.skip("the tiny model is not here")
    theirs = models.build(name)
    theirs.save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"): (tmp_path/file).write_bytes((tiny_data/"model"/file).read_bytes())
    model, tokenizer = load_model(tmp_path, device="cpu")
    assert type(model) is type(theirs) and equal(model, theirs) and not model.training
    assert tokenizer.decode(tokenizer("a town")["input_ids"]) == "a town"
    data = (tmp_path/"model.safetensors").read_bytes()
    (tmp_path/"model.safetensors").write_bytes(data[:len(data)//2])
    with pytest.raises(ValueError, match="transformers cannot open .*") as e: load_model(tmp_path, device="cpu")
    assert "\n" not in str(e.value)


def test_the_tiny_model():
    if not (resource("tiny")/"model").is_dir(): pytest.skip("the tiny model is not here")
    model, tokenizer = load_model("tiny", device="cpu")
    assert checkpoint_folder("tiny") == resource("tiny")/"model"
    assert model.dtype is torch.float32 and model.device.type == "cpu"
    assert 1.5e6 <= sum(p.numel() for p in model.parameters()) <= 2.5e6 and model.config.n_positions == 1024
    assert len(tokenizer) == model.config.vocab_size


# --- one sentence each


def refused(folder, kind, *words):
    with pytest.raises(kind) as e: GPT2LM.from_pretrained(folder)
    said = str(e.value)
    assert "\n" not in said and 15 < len(said) < 400, said
    assert all(w in said for w in words), said


def test_missing_things(folder, tmp_path):
    refused(tmp_path/"nowhere", FileNotFoundError, "there is no folder", "nowhere")
    refused("./nowhere", FileNotFoundError, "there is no folder")
    refused(tmp_path, FileNotFoundError, "config.json")
    (folder/"model.safetensors").rename(folder/"pytorch_model.bin")
    refused(folder, FileNotFoundError, "only safetensors")


@pytest.mark.parametrize("keep", [0, 5, 100, 5000, -1])
def test_truncated(folder, keep):
    data = (folder/"model.safetensors").read_bytes()
    (folder/"model.safetensors").write_bytes(data[:keep])
    refused(folder, ValueError, "model.safetensors", "damaged or cut short")


def test_garbage(folder):
    (folder/"model.safetensors").write_bytes(struct.pack("<Q", 20) + b"not json at all.....")
    refused(folder, ValueError, "damaged or cut short")


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_broken_config(folder, text):
    (folder/"config.json").write_text(text)
    refused(folder, ValueError, "config.json")


def test_broken_index(folder):
    (folder/"model.safetensors").unlink()
    (folder/"model.safetensors.index.json").write_text("{")
    refused(folder, ValueError, "index.json", "not valid JSON")


def test_tensors_that_do_not_fit(folder):
    keep = load_file(folder/"model.safetensors")
    key = "transformer.h.1.mlp.c_fc.weight"
    for change, words in ((lambda s: s.pop(key), ("lacks the tensor", key)),
                          (lambda s: s.update({key: s[key].T.contiguous()}), (key, "(128, 32)", "(32, 128)")),
                          (lambda s: s.update(surprise=s[key].clone()), ("does not have", "surprise"))):
        edit_weights(folder, change)
        refused(folder, ValueError, *words)
        save_file(keep, folder/"model.safetensors", metadata={"format": "pt"})
    edit_config(folder, n_layer=3)
    refused(folder, ValueError, "lacks the tensor transformer.h.2")


@pytest.mark.parametrize("key,value", [("scale_attn_weights", False), ("scale_attn_by_inverse_layer_idx", True), ("reorder_and_upcast_attn", True),
                                       ("add_cross_attention", True), ("model_type", "llama"), ("activation_function", "relu"), ("n_head", 5)])
def test_what_is_not_computed_is_refused(folder, key, value):
    edit_config(folder, **{key: value})
    refused(folder, ValueError, str(value))


def test_too_many_positions():
    model = models.gpt2_ours(n_positions=16)
    ids = torch.zeros(1, 16, dtype=torch.long)
    with torch.no_grad(): cache = model(ids, use_cache=True).past_key_values
    for call in (lambda: model(torch.zeros(1, 17, dtype=torch.long)), lambda: model(ids[:, :1], past_key_values=cache)):
        with pytest.raises(ValueError, match="17 tokens do not fit in the 16 positions"): call()


def test_a_cache_is_not_differentiated_through():
    model = models.gpt2_ours().train()
    with pytest.raises(ValueError, match="written in place"): model(IDS, use_cache=True)
    with torch.no_grad(): assert model(IDS, use_cache=True).past_key_values.get_seq_length() == 8


def test_asked_for_device_that_is_not_there(folder, tiny_data):
    if torch.cuda.is_available() or not (tiny_data/"model").is_dir(): pytest.skip("there is a GPU, or no tiny model")
    with pytest.raises(ValueError, match="cuda"): load_model("tiny", device="cuda")
