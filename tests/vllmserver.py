"""A stand-in for `vllm serve` on loopback, which samples for real, from a small model of ours.

    with VLLM(folder) as vllm:
        vllm.fail("/v1/completions", status=503, times=2)
        engine = VLLMServer(vllm.url, vllm.name, …)

It speaks what vLLM 0.32 speaks at /health, /v1/models, /v1/completions, /v1/load_lora_adapter, /v1/unload_lora_adapter, /collective_rpc
(reload_weights) and /reset_prefix_cache: the same keys, the same errors, a choice's index counted over all prompts of a request, a seed
for a request's prompts alike, log-probs as the server's mode has them, and a remembered prompt that is stale until its cache is reset. A request
draws what `ftlib.generate` draws with its seed, so that an engine on the live policy has the same luck. It can be told to misbehave.
"""
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import torch
from loopback import Loopback

from ftlib.adapters import load_adapter
from ftlib.generate import generate
from ftlib.gpt2 import GPT2LM
from ftlib.groups import collate_rows, scored


class Refusal(Exception):
    "An answer with an error code."
    def __init__(self, code, message, bare=False): self.code, self.body = code, {"detail": message} if bare else {
        "error": {"message": message, "type": "Error", "param": None, "code": code}}


@dataclass
class Fault:
    "What goes wrong with requests to a path."
    path: str
    status: int = 0          # the answer is this status
    drop: bool = False       # the connection is closed without an answer
    pause: float = 0.0       # seconds before the answer
    together: int = 0        # no answer until so many requests are here, or five seconds have passed
    text: str = ""           # the answer is this text
    change: object = None    # change(answer) changes it in place
    times: int = 1_000_000   # how often


@dataclass
class VLLM(Loopback):
    folder: object                                   # of the model it starts with
    name: str = "policy"
    mode: str = "processed_logprobs"                 # or raw_logprobs: at temperature 1
    eos: int | None = None                           # what its model calls the end
    length: int = 64                                 # --max-model-len
    key: str = ""                                    # --api-key
    dev: bool = True                                 # VLLM_SERVER_DEV_MODE=1
    lora: bool = True                                # VLLM_ALLOW_RUNTIME_LORA_UPDATING=True
    seen: list = field(default_factory=list)         # (path, body), in order
    faults: list = field(default_factory=list)
    adapters: dict = field(default_factory=dict)     # name -> folder
    loaded: dict = field(default_factory=dict)       # name -> model
    cache: dict = field(default_factory=dict)        # (model's name, prompt) -> the model that read it
    most: int = 0                                    # requests at a time
    busy: int = 0

    def __enter__(self):
        self.lock, self.model = threading.RLock(), GPT2LM.from_pretrained(self.folder).float().eval()
        return self.listen(Handler, "vllm")

    def fail(self, path, **how): self.faults.append(Fault(path, **how))

    def paths(self): return [path for path, _ in self.seen]

    # --- endpoints

    def models(self, _):
        return {"object": "list", "data": [{"id": name, "object": "model", "max_model_len": self.length} for name in (self.name, *self.adapters)]}

    def named(self, name):
        "The model that answers to a name."
        if name == self.name: return self.model
        if name in self.loaded: return self.loaded[name]
        raise Refusal(404, f"The model `{name}` does not exist. Valid aliases: {self.name}.")

    def completions(self, body):
        model, prompts = self.named(body["model"]), body["prompt"]
        if prompts and isinstance(prompts[0], int): prompts = [prompts]
        for prompt in prompts:
            if not prompt: raise Refusal(400, "The decoder prompt cannot be empty")
            if bad := [i for i in prompt if i >= model.config.vocab_size]: raise Refusal(400, f"Token id {bad[0]} is out of vocabulary")
            if len(prompt) + body["max_tokens"] > self.length: raise Refusal(400, f"This model's maximum context length is {self.length} tokens.")
        answers = [self.sample(model, prompt, body) for prompt in prompts]
        choices = [choice for answer in answers for choice in answer]
        return {"object": "text_completion", "model": body["model"], "choices": [c | {"index": i} for i, c in enumerate(choices)]}

    def sample(self, model, prompt, body):
        "The choices of one prompt."
        model = self.cache.setdefault((body["model"], tuple(prompt)), model)     # blocks of the prompt as they were computed
        ends = list(body.get("stop_token_ids") or [])
        if self.eos is not None and not body.get("ignore_eos"): ends.append(self.eos)
        how = {key: body[key] for key in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty") if key in body}
        done = generate(model, torch.tensor([prompt]), num_return_sequences=body["n"], max_new_tokens=body["max_tokens"], seed=[body["seed"]],
                        eos_token_id=ends or None, **how)
        lengths = done.completion_mask.sum(1).tolist()
        rows = [row[len(prompt):len(prompt) + n] for row, n in zip(done.sequences.tolist(), lengths)]
        logps = done.logps
        if self.mode == "raw_logprobs": logps = scored(model, collate_rows([prompt], rows, len(rows)))
        return [self.choice(prompt, ids, logps[i, :len(ids)].tolist(), ends, body) for i, ids in enumerate(rows)]

    def choice(self, prompt, ids, logps, ends, body):
        names = [f"token_id:{i}" if body.get("return_tokens_as_token_ids") else f"<{i}>" for i in ids]
        told = {"tokens": names, "token_logprobs": logps, "top_logprobs": [{n: x} for n, x in zip(names, logps)]}
        stopped = ids[-1] in ends
        choice = {"text": "", "logprobs": told if body.get("logprobs") is not None else None, "finish_reason": "stop" if stopped else "length",
                  "stop_reason": ids[-1] if stopped else None}
        return choice | ({"token_ids": ids, "prompt_token_ids": prompt} if body.get("return_token_ids") else {"token_ids": None})

    def load(self, body):
        if body["lora_name"] in self.adapters and not body.get("load_inplace"): raise Refusal(400, "The lora adapter has already been loaded.")
        try: self.loaded[body["lora_name"]] = load_adapter(GPT2LM.from_pretrained(self.folder).float(), body["lora_path"]).eval()
        except OSError as error: raise Refusal(404, f"No adapter found for {body['lora_path']}") from error
        self.adapters[body["lora_name"]] = body["lora_path"]
        return f"Success: LoRA adapter '{body['lora_name']}' added successfully."

    def unload(self, body):
        if body["lora_name"] not in self.adapters: raise Refusal(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
        del self.adapters[body["lora_name"]], self.loaded[body["lora_name"]]
        return f"Success: LoRA adapter '{body['lora_name']}' removed successfully."

    def rpc(self, body):
        if body["method"] != "reload_weights": raise Refusal(500, f"Worker failed with error \"no attribute '{body['method']}'\"")
        try: self.model = GPT2LM.from_pretrained(body.get("kwargs", {}).get("weights_path") or self.folder).float().eval()
        except OSError as error: raise Refusal(500, f"Call to collective_rpc method failed: {error}") from error
        return {"results": [None]}

    def reset(self, _):
        self.cache.clear()
        return {"success": True}

    def endpoint(self, path):
        found = {"/v1/models": self.models, "/v1/completions": self.completions, "/health": lambda _: ""}
        if self.dev: found |= {"/collective_rpc": self.rpc, "/reset_prefix_cache": self.reset}
        if self.lora: found |= {"/v1/load_lora_adapter": self.load, "/v1/unload_lora_adapter": self.unload}
        if path not in found: raise Refusal(404, "Not Found", bare=True)
        return found[path]


class Handler(BaseHTTPRequestHandler):
    vllm: VLLM
    protocol_version = "HTTP/1.1"

    def log_message(self, *_): pass
    def do_GET(self): self.handle_request()
    def do_POST(self): self.handle_request()

    def handle_request(self):
        vllm, body = self.vllm, json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        with vllm.lock:
            vllm.seen.append((self.path, body))
            vllm.busy += 1
            vllm.most = max(vllm.most, vllm.busy)
            fault = next((f for f in vllm.faults if f.path == self.path and f.times > 0), Fault(self.path))
            fault.times -= 1
        time.sleep(fault.pause)
        late = time.monotonic() + 5
        while vllm.busy < fault.together and time.monotonic() < late: time.sleep(0.005)
        code, answer = 200, None
        try:
            if fault.drop: return
            if fault.status: raise Refusal(fault.status, "out of order")
            if vllm.key and self.headers.get("Authorization") != f"Bearer {vllm.key}": raise Refusal(401, "Unauthorized")
            with vllm.lock, torch.no_grad(): answer = vllm.endpoint(self.path)(body)      # a model answers one at a time
            if fault.change: fault.change(answer)
            answer = fault.text or answer
        except Refusal as no: code, answer = no.code, no.body
        finally:
            with vllm.lock: vllm.busy -= 1           # before who asked can ask again
            self.close() if answer is None else self.send(code, answer)

    def close(self):
        "Hang up without a word."
        self.close_connection = True
        self.connection.shutdown(2)

    def send(self, code, answer):
        data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        try: self.wfile.write(data)
        except OSError: pass                         # who asked has left
