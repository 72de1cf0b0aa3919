"""Engines that are not the live policy: vLLM behind its server's protocol, spoken by a stand-in on loopback, and vLLM in the process, by a stub.

`FTLIB_VLLM=http://host:port FTLIB_VLLM_MODEL=folder pytest tests/test_engines.py -k real` runs against a real server, started from that folder of a
Llama with --served-model-name policy --dtype float32 --logprobs-mode processed_logprobs --enable-lora, VLLM_SERVER_DEV_MODE=1 and
VLLM_ALLOW_RUNTIME_LORA_UPDATING=True.
"""
import copy
import os
import random
import sys
import types
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from models import gpt2_ours, random_rows
from vllmserver import VLLM

from ftlib.adapters import save_adapter
from ftlib.engines import VLLMEngine, VLLMServer, check_engine, read_choice, vllm_sampling
from ftlib.lora import LoRAConfig, add_lora
from ftlib.rollouts import LocalEngine, Plan, Rollouts

END = 5
PROMPTS = random_rows((4, 1, 9, 3, 6), seed=2)
SEEDS = [3, 2**48 - 1, 3, 77, 12]
SAVE = lambda model, folder: model.save_pretrained(folder)


def policy(seed=0):
    "A model that ends a completion now and then: the end's row is as likely as others."
    return gpt2_ours(seed=seed)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    "The folder that servers start from."
    folder = tmp_path_factory.mktemp("start")
    policy().save_pretrained(folder)
    return folder


@pytest.fixture
def vllm(start):
    with VLLM(start) as server: yield server


def engine(server, *args, **more):
    return VLLMServer(server.url, server.name, *args, **{"eos_token_id": END, "max_new_tokens": 12, "pause": 0.005, "tries": 3, **more})


def says(kind, text, call, *args):
    "The call fails with one line that holds the text."
    with pytest.raises(kind) as error: call(*args)
    words = error.value.args[0]
    assert text in words and "\n" not in words, words


def nudged(model, std=0.05, seed=1):
    "The model after an update."
    model, g = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters(): p.add_(std*torch.randn(p.shape, generator=g))
    return model


# --- what comes back


@pytest.mark.parametrize("temperature", (1.0, 0.6))
def test_the_server_says_what_the_live_policy_says(vllm, temperature):
    model, k = policy(), 6
    far = engine(vllm, temperature=temperature)(PROMPTS, k, SEEDS)
    near = LocalEngine(model, [END], 12, temperature=temperature)(PROMPTS, k, SEEDS)
    assert far.tokens == near.tokens and far.ended == near.ended and len(far.tokens) == k*len(PROMPTS)
    assert any(far.ended) and not all(far.ended)
    for ids, ended in zip(far.tokens, far.ended): assert (ids[-1] == END) == ended and END not in ids[:-1] and (ended or len(ids) == 12)
    assert max(abs(a - b) for x, y in zip(far.logps, near.logps) for a, b in zip(x, y)) < 1e-5
    assert check_engine(engine(vllm, temperature=temperature), model, PROMPTS, temperature=temperature)["largest"] < 1e-5


def test_samples_differ_by_seed_and_repeat_with_it(vllm):
    e = engine(vllm)
    one, again, other = e(PROMPTS, 4, SEEDS), e(PROMPTS, 4, SEEDS), e(PROMPTS, 4, [s + 10**6 for s in SEEDS])
    assert one.tokens == again.tokens != other.tokens
    assert all(len(set(map(tuple, one.tokens[i:i + 4]))) > 1 for i in range(0, 20, 4))
    alone = e(PROMPTS[2:3], 4, SEEDS[2:3])
    assert alone.tokens == one.tokens[8:12]                                       # whoever else is asked for
    assert len(set(map(str, (e([PROMPTS[0]]*2, 1, [1, 2]).tokens)))) == 2            # each prompt has luck of its own


def test_answers_keep_the_order_of_the_prompts(vllm):
    "The first prompt's answer comes last, and choices come in any order."
    calm = engine(vllm)(PROMPTS, 3, SEEDS)
    vllm.fail("/v1/completions", pause=0.15, times=1)
    vllm.fail("/v1/completions", change=lambda answer: answer["choices"].reverse())
    assert engine(vllm)(PROMPTS, 3, SEEDS).tokens == calm.tokens


def test_all_prompts_are_asked_for_at_once_and_no_more_than_wanted(vllm):
    vllm.fail("/v1/completions", together=len(PROMPTS), times=len(PROMPTS))
    engine(vllm)(PROMPTS, 1, SEEDS)
    assert vllm.most == len(PROMPTS)
    vllm.most = 0
    vllm.fail("/v1/completions", pause=0.02)
    engine(vllm, workers=2)(PROMPTS, 1, SEEDS)
    assert vllm.most == 2


def test_only_our_ends_end(vllm):
    "The server's model has an end of its own; several of ours all count."
    vllm.eos = next(i for ids in engine(vllm)(PROMPTS, 2, SEEDS).tokens for i in ids[:-1])
    assert engine(vllm)(PROMPTS, 2, SEEDS).tokens == LocalEngine(policy(), [END], 12)(PROMPTS, 2, SEEDS).tokens
    ends = [END, vllm.eos]
    far = engine(vllm, eos_token_id=ends)(PROMPTS, 2, SEEDS)
    assert far.tokens == LocalEngine(policy(), ends, 12)(PROMPTS, 2, SEEDS).tokens and {ids[-1] for ids, e in zip(*(far.tokens, far.ended)) if e} <= set(ends)


def test_every_setting_is_sent(vllm):
    "What is not sent a server takes from its model's generation_config."
    how = {"temperature": 0.7, "top_k": 9, "top_p": 0.8, "min_p": 0.01, "repetition_penalty": 1.1}
    engine(vllm, **how)(PROMPTS[:1], 2, [8])
    _, body = vllm.seen[-1]
    assert body | how == body and body["max_tokens"] == 12 and body["ignore_eos"] and body["stop_token_ids"] == [END]
    assert body["prompt"] == PROMPTS[0] and body["n"] == 2 and body["seed"] == 8 and body["logprobs"] == 0 and body["return_token_ids"]
    says(ValueError, "temperature 0", partial(engine, temperature=0), vllm)
    says(TypeError, "top_q", partial(engine, top_q=1), vllm)
    says(ValueError, "eos_token_id", partial(engine, eos_token_id=[]), vllm)
    says(ValueError, "base_url is 'localhost:1'", partial(VLLMServer, eos_token_id=0), "localhost:1", "x")


def test_ids_are_read_from_tokens_where_there_is_no_list(vllm):
    def older(answer):
        for choice in answer["choices"]: choice["token_ids"] = choice["prompt_token_ids"] = None
    calm = engine(vllm)(PROMPTS, 3, SEEDS)
    vllm.fail("/v1/completions", change=older)
    assert engine(vllm)(PROMPTS, 3, SEEDS).tokens == calm.tokens


def test_an_engine_may_tell_no_logps(vllm):
    def silent(answer):
        for choice in answer["choices"]: choice["logprobs"] = None
    vllm.fail("/v1/completions", change=silent)
    assert engine(vllm)(PROMPTS, 1, SEEDS).logps is None
    says(ValueError, "no log-probs", check_engine, engine(vllm), policy(), PROMPTS)


# --- weights


def test_an_update_of_the_whole_model_arrives(vllm, tmp_path):
    model = policy()
    e, new = engine(vllm, tmp_path, SAVE), nudged(model)
    e(PROMPTS, 2, SEEDS)
    says(ValueError, "its weights are old", check_engine, e, new, PROMPTS)
    e.update(new)
    assert vllm.paths()[-2:] == ["/collective_rpc", "/reset_prefix_cache"]        # without the second, prompts stay as they were read
    assert check_engine(e, new, PROMPTS)["largest"] < 1e-5
    says(ValueError, "its weights are old", check_engine, e, model, PROMPTS)
    e.update(nudged(new, seed=2))
    assert check_engine(e, nudged(new, seed=2), PROMPTS)["largest"] < 1e-5
    assert len(list(tmp_path.iterdir())) == 1                                     # the last one's files are gone, the server has read them
    paths = [body["kwargs"]["weights_path"] for path, body in vllm.seen if path == "/collective_rpc"]
    assert len(set(paths)) == 2 and all(os.path.isabs(p) for p in paths)


def test_an_update_of_an_adapter_arrives(vllm, tmp_path):
    model = add_lora(policy(), LoRAConfig(r=2))
    e = engine(vllm, tmp_path, save_adapter, adapter=True)
    assert check_engine(e, model, PROMPTS)["largest"] < 1e-5                      # it starts as nothing
    for n in (1, 2, 3):
        with torch.no_grad():
            for p in model.parameters():
                if p.requires_grad: p.add_(0.1*torch.randn(p.shape, generator=torch.Generator().manual_seed(n)))
        says(ValueError, "its weights are old", check_engine, e, model, PROMPTS)
        e.update(model)
        assert check_engine(e, model, PROMPTS)["largest"] < 1e-4
        assert e.models() == ["policy", e.serving] and len(list(tmp_path.iterdir())) == 1
    names = [body["lora_name"] for path, body in vllm.seen if path == "/v1/load_lora_adapter"]
    assert len(set(names)) == 3 and vllm.named("policy") is vllm.model            # the base is as it was


def test_an_update_that_cannot_be_made_says_so(vllm, start, tmp_path):
    says(ValueError, "cannot get new weights", engine(vllm).update, policy())
    vllm.dev = vllm.lora = False
    says(ValueError, "VLLM_SERVER_DEV_MODE=1", engine(vllm, tmp_path, SAVE).update, policy())
    says(ValueError, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True", engine(vllm, tmp_path, SAVE, adapter=True).update, policy())
    vllm.dev = vllm.lora = True
    says(ValueError, "answers 404: No adapter found", engine(vllm, tmp_path, SAVE, adapter=True).update, policy())

    def full(model, folder): raise OSError(28, "No space left on device")
    e = engine(vllm, tmp_path/"disk", full)
    says(OSError, "No space left", e.update, policy())
    assert vllm.paths().count("/collective_rpc") == 1 and not list((tmp_path/"disk").iterdir())    # nothing was asked for


# --- what goes wrong


def test_a_server_that_is_down():
    says(ConnectionError, "no vLLM at http://127.0.0.1:9 after 2 tries", VLLMServer("http://127.0.0.1:9", "x", eos_token_id=0, tries=2, pause=0.001),
         PROMPTS, 1, SEEDS)


@pytest.mark.parametrize("fault", ({"status": 503}, {"drop": True}), ids=("503", "dropped"))
def test_passing_faults_are_tried_again(vllm, fault):
    calm = engine(vllm)(PROMPTS[:1], 2, SEEDS[:1])
    vllm.seen.clear()
    vllm.fail("/v1/completions", times=2, **fault)
    assert engine(vllm)(PROMPTS[:1], 2, SEEDS[:1]).tokens == calm.tokens and len(vllm.seen) == 3
    vllm.fail("/v1/completions", **fault)
    says(ConnectionError, "after 3 tries", engine(vllm), PROMPTS[:1], 2, SEEDS[:1])
    assert len(vllm.seen) == 6


@pytest.mark.parametrize("status", (400, 429, 500))
def test_other_errors_are_not(vllm, status):
    vllm.fail("/v1/completions", status=status)
    says(ValueError, f"answers {status}: out of order", engine(vllm), PROMPTS[:1], 2, SEEDS[:1])
    assert len(vllm.seen) == 1


def test_an_error_ends_the_rollout_without_asking_for_the_rest(vllm):
    vllm.fail("/v1/completions", status=400, times=1)
    vllm.fail("/v1/completions", pause=0.02)
    says(ValueError, "answers 400", engine(vllm, workers=1), PROMPTS*4, 1, SEEDS*4)
    assert len(vllm.seen) <= 3


def test_a_server_that_does_not_answer(vllm):
    vllm.fail("/v1/completions", pause=0.5)
    says(TimeoutError, "timeout=0.1", engine(vllm, timeout=0.1), PROMPTS[:1], 1, SEEDS[:1])
    assert len(vllm.seen) == 1


def test_a_model_that_is_not_served(vllm):
    e = engine(vllm)
    e.serving = "polcy"
    says(ValueError, "'polcy' (did you mean 'policy'?)", e, PROMPTS[:1], 1, SEEDS[:1])


def test_a_key(vllm, monkeypatch):
    vllm.key = "open"
    says(PermissionError, "api_key", engine(vllm), PROMPTS[:1], 1, SEEDS[:1])
    assert engine(vllm, api_key="open")(PROMPTS[:1], 1, SEEDS[:1]).tokens
    monkeypatch.setenv("VLLM_API_KEY", "open")
    assert engine(vllm)(PROMPTS[:1], 1, SEEDS[:1]).tokens


def test_a_proxy_is_passed_by(vllm, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert engine(vllm)(PROMPTS[:1], 1, SEEDS[:1]).tokens


def test_token_ids_that_the_model_does_not_know(vllm):
    says(ValueError, "Token id 9999 is out of vocabulary", engine(vllm), [[1, 9999]], 1, [1])
    says(ValueError, "maximum context length is 64", engine(vllm), [[1]*60], 1, [1])
    def strange(answer): answer["choices"][0]["token_ids"][0] = 9999
    vllm.fail("/v1/completions", change=strange)
    says(ValueError, "token 9999 and the policy knows 97", check_engine, engine(vllm), policy(), PROMPTS)


def changed(key, value):
    def change(answer): answer["choices"][0][key] = value
    return change


@pytest.mark.parametrize("change,text", (
    (lambda answer: answer["choices"].pop(), "1 completions, asked for 2"),
    (changed("token_ids", []), "without token ids"),
    (changed("prompt_token_ids", [1, 2]), "read a prompt of 2 tokens where 4 were sent"),
    (changed("finish_reason", "abort"), "'abort'"),
    (changed("logprobs", {"token_logprobs": [-1.0]}), "1 log-probs for"),
    (changed("logprobs", {"token_logprobs": [None]*12}), "log-probs"),
    (lambda answer: [c.update(token_ids=[7, 8], finish_reason="stop", logprobs=None) for c in answer["choices"]], "at token 8, not at one of [5]"),
    (lambda answer: answer.pop("choices"), "answers without choices"),
), ids=("fewer", "no ids", "prompt", "aborted", "fewer logps", "empty logps", "no end", "no choices"))
def test_an_answer_that_is_not_one(vllm, change, text):
    vllm.fail("/v1/completions", change=change)
    says(ValueError, text, engine(vllm), PROMPTS[:1], 2, SEEDS[:1])


def test_no_ids_at_all(vllm):
    def texts(answer):
        for c in answer["choices"]: c.update(token_ids=None, logprobs={"tokens": [" a", " b"], "token_logprobs": [-1.0, -1.0]})
    vllm.fail("/v1/completions", change=texts)
    says(ValueError, "without token ids", engine(vllm), PROMPTS[:1], 2, SEEDS[:1])


@pytest.mark.parametrize("text", ("<html>a portal</html>", "{broken", "[]"))
def test_another_kind_of_server(vllm, text):
    vllm.fail("/v1/completions", text=text)
    says(ValueError, "answers without choices", engine(vllm), PROMPTS[:1], 2, SEEDS[:1])


# --- the check


def test_the_check_finds_another_temperature(vllm):
    says(ValueError, "temperature", partial(check_engine, temperature=0.6), engine(vllm), policy(), PROMPTS)
    vllm.mode = "raw_logprobs"
    says(ValueError, "processed_logprobs", partial(check_engine, temperature=0.6), engine(vllm, temperature=0.6), policy(), PROMPTS)
    assert check_engine(engine(vllm), policy(), PROMPTS)["largest"] < 1e-5        # at temperature 1 there is no difference


def test_the_check_measures_a_small_step(vllm):
    found = check_engine(engine(vllm), nudged(policy(), std=1e-3), PROMPTS, 4)
    assert 1e-5 < found["mean"] < 0.05 and found["mean"] < found["largest"] and found["tokens"] > 60
    assert abs(found["kl"]) < found["mean"]


def test_the_check_reports_what_is_not_a_number(vllm):
    broken = policy()
    with torch.no_grad(): broken.transformer.wte.weight[3] = float("nan")
    says(ValueError, "nan nats", check_engine, engine(vllm), broken, PROMPTS)


# --- a whole rollout


@pytest.mark.parametrize("shared", (True, False))
def test_an_epoch_of_rollouts_is_that_of_the_live_policy(vllm, tmp_path, shared):
    rows = [{"answer": i} for i in range(5)]
    reward = lambda texts, row: [float(len(t)) + row["answer"] for t in texts]
    decode = lambda many: [" ".join(map(str, ids)) for ids in many]
    plan = Plan(k=3, prompts=2, parts=1, rescore=True, shared=shared)
    epochs = []
    model = nudged(policy())                          # not what the server starts with: each rollout has to tell it
    for sampler in (engine(vllm, tmp_path, SAVE), LocalEngine(model, [END], 12)):
        epochs.append(list(Rollouts(model, PROMPTS, rows, reward, sampler, decode, plan)))
    assert len(epochs[0]) == len(epochs[1]) == 2
    for far, near in zip(*epochs):
        assert far.keys() == near.keys()
        for key, x in near.items():
            if key == "curves": continue
            assert torch.allclose(far[key].float(), x.float(), atol=1e-5), key


# --- in this process


@dataclass
class Logprob:
    logprob: float


class StubLLM:
    "What `vllm.LLM` does with token ids, sampled by the live policy."
    made = None
    def __init__(self, model, logprobs_mode="raw_logprobs", **options):
        self.model, self.options, self.calls, StubLLM.made = policy(), options | {"logprobs_mode": logprobs_mode}, [], self
    def generate(self, prompts, sampling_params=None, *, use_tqdm=True, lora_request=None):
        assert len(prompts) == len(sampling_params) and not use_tqdm
        return [self.one(p["prompt_token_ids"], params) for p, params in zip(prompts, sampling_params)]
    def one(self, prompt, params):
        local = LocalEngine(self.model, params.stop_token_ids, params.max_tokens, temperature=params.temperature)
        said = local([prompt], params.n, [params.seed])
        outputs = [types.SimpleNamespace(index=i, token_ids=tuple(ids), finish_reason="stop" if ended else "length", text="",
                                         logprobs=None if params.logprobs is None else [{t: Logprob(x), 96 - t: Logprob(0.0)} if t != 48 else
                                                                                       {t: Logprob(x)} for t, x in zip(ids, logps)])
                   for i, (ids, ended, logps) in enumerate(zip(said.tokens, said.ended, said.logps))]
        return types.SimpleNamespace(prompt_token_ids=prompt, outputs=outputs[::-1], finished=True)
    def collective_rpc(self, method, timeout=None, args=(), kwargs=None):
        self.calls.append(method)
        self.model = type(self.model).from_pretrained(kwargs["weights_path"]).float().eval()
        return [None]
    def reset_prefix_cache(self): self.calls.append("reset_prefix_cache")


class StubParams:
    "`vllm.SamplingParams`, which takes these names and no other."
    def __init__(self, *, n=1, temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, repetition_penalty=1.0, seed=None, stop_token_ids=None,
                 ignore_eos=False, max_tokens=16, logprobs=None, detokenize=True): self.__dict__.update({k: v for k, v in locals().items() if k != "self"})


def test_vllm_in_the_process(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "vllm", types.SimpleNamespace(LLM=StubLLM, SamplingParams=StubParams))
    e = VLLMEngine("some/model", tmp_path, SAVE, eos_token_id=END, max_new_tokens=12, temperature=0.6, options={"max_model_len": 64})
    assert StubLLM.made.options == {"logprobs_mode": "processed_logprobs", "max_model_len": 64} and not e.exact
    far, near = e(PROMPTS, 3, SEEDS), LocalEngine(policy(), [END], 12, temperature=0.6)(PROMPTS, 3, SEEDS)
    assert far.tokens == near.tokens and far.ended == near.ended
    assert check_engine(e, policy(), PROMPTS, temperature=0.6)["largest"] < 1e-5
    new = nudged(policy())
    e.update(new)
    assert StubLLM.made.calls == ["reload_weights", "reset_prefix_cache"]
    assert check_engine(e, new, PROMPTS, temperature=0.6)["largest"] < 1e-5


def test_vllm_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    says(ImportError, "pip install vllm", partial(VLLMEngine, eos_token_id=END), "some/model")


def test_words_of_both_kinds_are_the_same():
    StubParams(n=1, seed=1, detokenize=False, **vllm_sampling(END, 7, temperature=0.5))
    assert read_choice({"token_ids": [1, END], "finish_reason": "stop"}, [END]) == ([1, END], True, None)


# --- a real server


@pytest.mark.skipif("FTLIB_VLLM" not in os.environ, reason="no real vLLM named in $FTLIB_VLLM")
def test_a_real_server(tmp_path):
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(os.environ["FTLIB_VLLM_MODEL"]).float().eval()
    prompts = random_rows((4, 1, 9, 3), vocab=min(100, model.config.vocab_size), seed=2)
    ask = lambda **more: VLLMServer(os.environ["FTLIB_VLLM"], "policy", tmp_path, **{"save": SAVE, "eos_token_id": END, "max_new_tokens": 40,
                                                                                      "temperature": 0.7, **more})
    check = partial(check_engine, temperature=0.7, tolerance=1e-3)
    seeds = [random.Random(i).getrandbits(48) for i in range(4)]
    e = ask()
    one, again = e(prompts, 3, seeds), e(prompts, 3, seeds)
    assert one.tokens == again.tokens and len(set(map(tuple, one.tokens))) > 6
    print(check(e, model, prompts))
    often = ask(eos_token_id=list(range(0, model.config.vocab_size, 3)))(prompts, 4, seeds)
    assert any(often.ended) and all((ids[-1] % 3 == 0) == ended for ids, ended in zip(often.tokens, often.ended))
    e.serving = "polcy"
    says(ValueError, "'polcy' (did you mean 'policy'?)", e, prompts, 1, seeds)
    e.serving = "policy"
    for n in (1, 2):
        new = nudged(model, std=0.02, seed=n)
        e.update(new)
        print(check(e, new, prompts))
    e.update(model)
    print(check(e, model, prompts))
    adapted, e = add_lora(model, LoRAConfig(r=8, targets=["q_proj", "v_proj"])), ask(save=save_adapter, adapter=True)
    for n in (1, 2):
        with torch.no_grad():
            for name, p in adapted.named_parameters():
                if p.requires_grad: p.add_(0.1*torch.randn(p.shape, generator=torch.Generator().manual_seed(n)))
        says(ValueError, "its weights are old", partial(check), e, adapted, prompts)
        e.update(adapted)
        print(check(e, adapted, prompts))
