"Mends of the bug hunts that hide the symptom and are wrong: (exercise, what somebody might think of, its code)."
WRONG = [
    ("hunt.1", "divide in forward alone", """
class LoRALinear(LoRALinear):
    def forward(self, x): return self.base(x) + self.alpha/self.r*(x @ self.A.T @ self.B.T)
"""),
    ("hunt.1", "the square root, unasked", """
class LoRALinear(LoRALinear):
    def __init__(self, base, r=8, alpha=16.0): super().__init__(base, r, alpha/r**0.5)
"""),
    ("hunt.2", "look for the pad token", """
def text_vectors(model, ids, mask):
    last = ((ids != 0).int()*torch.arange(ids.shape[1])).argmax(1)
    return hidden_states(model, ids, mask)[torch.arange(len(ids)), last]
"""),
    ("hunt.2", "count the real tokens", """
def text_vectors(model, ids, mask):
    return hidden_states(model, ids, mask)[torch.arange(len(ids)), mask.sum(1) - 1]
"""),
    ("hunt.3", "learn the padding as well", """
def collate(examples, pad_id, starter=collate):
    batch = starter(examples, pad_id)
    batch["labels"] = batch["input_ids"].clone()
    for i, (prompt, _) in enumerate(examples): batch["labels"][i, :len(prompt)] = -100
    return batch
"""),
    ("hunt.3", "unmask the first pad of a row", """
def collate(examples, pad_id, starter=collate):
    batch = starter(examples, pad_id)
    pads = batch["input_ids"] == pad_id
    first = pads & (pads.cumsum(1) == 1)
    batch["attention_mask"][first] = 1
    batch["labels"][first] = pad_id
    return batch
"""),
    ("hunt.4", "shift the targets instead", """
def reply_logps(logits, ids, mask):
    chosen = logits[:, 1:].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return (chosen*mask[:, 1:]).sum(-1)
"""),
    ("hunt.5", "a sum in the loss, rewards as they were", """
def dpo(chosen, rejected, ref_chosen, ref_rejected, chosen_mask, rejected_mask, beta=0.1):
    won, lost = ((chosen - ref_chosen)*chosen_mask).sum(-1), ((rejected - ref_rejected)*rejected_mask).sum(-1)
    return -F.logsigmoid(beta*(won - lost)), won.detach(), lost.detach()
"""),
    ("hunt.5", "a sum over the padding too", """
def dpo(chosen, rejected, ref_chosen, ref_rejected, chosen_mask, rejected_mask, beta=0.1):
    won, lost = beta*(chosen - ref_chosen).sum(-1), beta*(rejected - ref_rejected).sum(-1)
    return -F.logsigmoid(won - lost), won.detach(), lost.detach()
"""),
    ("hunt.6", "begin at 1", """
@torch.no_grad()
def score(model, ids, mask, new):
    logits = model(input_ids=ids, attention_mask=mask, position_ids=mask.cumsum(1)*mask).logits
    return token_logps(logits, ids)[:, -new:]
"""),
    ("hunt.7", "call what is scored now the old policy", """
def update(model, optimizer, batch, clip=0.2, starter=update):
    with torch.no_grad(), eval_mode(model):
        now, _ = completion_logps(model, batch["input_ids"], batch["attention_mask"], batch["completion_mask"])
    with eval_mode(model): return starter(model, optimizer, batch | {"old_logps": now})
"""),
    ("hunt.7", "leave the model in eval mode", """
def update(model, optimizer, batch, clip=0.2):
    logps, mask = completion_logps(model.eval(), batch["input_ids"], batch["attention_mask"], batch["completion_mask"])
    optimizer.zero_grad()
    rloo_loss(logps, batch["old_logps"], batch["advantages"], mask, clip).mean().backward()
    optimizer.step()
    return likelihood_ratios(logps.detach(), batch["old_logps"], mask)
"""),
    ("hunt.8", "a second name for the same model", """
class Trainer(Trainer):
    def __init__(self, policy, lr=1e-4, beta=0.1):
        super().__init__(policy, lr, beta)
        self.reference = policy
"""),
    ("hunt.8", "the checkpoint again, with the weights that have the same names", """
class Trainer(Trainer):
    def __init__(self, policy, lr=1e-4, beta=0.1):
        super().__init__(policy, lr, beta)
        self.reference.load_state_dict(policy.state_dict(), strict=False)
"""),
    ("hunt.9", "change the class", """
def with_temperature(model, t):
    forward = type(model).forward
    class Divided(type(model)):
        def forward(self, *args, **kwargs):
            out = forward(self, *args, **kwargs)
            out.logits = out.logits/2.0
            return out
    model.__class__ = Divided
    return model
"""),
    ("hunt.9", "bind the new function, keep the old method", """
def with_temperature(model, t):
    forward = model.forward
    def divided(self, *args, **kwargs):
        out = forward(*args, **kwargs)
        out.logits = out.logits/t
        return out
    model.forward = types.MethodType(divided, model)
    return model
"""),
    ("hunt.10", "decay nothing", """
def make_optimizer(model, lr=1e-3, weight_decay=0.01):
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
"""),
    ("hunt.10", "spare what is called turn", """
def make_optimizer(model, lr=1e-3, weight_decay=0.01):
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    decays = lambda n, p: p.ndim > 1 and "turn" not in n
    return torch.optim.AdamW([{"params": [p], "weight_decay": weight_decay*decays(n, p)} for n, p in named], lr=lr)
"""),
    ("hunt.11", "weigh by rows", """
def accumulate(model, micro_batches):
    model.zero_grad()
    rows, total = sum(len(b["input_ids"]) for b in micro_batches), 0.0
    for b in micro_batches:
        nll, tokens = completion_nll(model, b["input_ids"], b["attention_mask"], b["completion_mask"])
        loss = nll/tokens.clamp(min=1)*len(b["input_ids"])/rows
        loss.backward()
        total += loss.item()
    return total
"""),
    ("hunt.12", "stretch by the size of the group, unscored ones included", """
def advantages(rewards):
    k = rewards.shape[1]
    return ((rewards - rewards.nanmean(1, keepdim=True))*k/(k - 1)).nan_to_num(0.0)
"""),
    ("hunt.13", "the last match", """
def answer(text):
    found = re.findall(r"####\\s*\\$?(-?[\\d.,]+)", text)
    return found[-1].replace(",", "").rstrip(".") if found else None
"""),
    ("hunt.14", "turn the sign of k1", """
def kl_estimate(logps, ref_logps, kind="k1", starter=kl_estimate):
    return starter(logps, ref_logps, kind)*(-1 if kind == "k1" else 1)
"""),
    ("hunt.14", "make all of them positive", """
def kl_estimate(logps, ref_logps, kind="k1", starter=kl_estimate): return starter(logps, ref_logps, kind).abs()
"""),
    ("hunt.15", "the activation alone", """
def save(edit, folder, starter=save):
    starter(edit, folder)
    config = json.loads((Path(folder)/"config.json").read_text())
    act = next(name for name, f in ACTS.items() if f is edit.act)
    (Path(folder)/"config.json").write_text(json.dumps(config | {"act": act}))
def load(folder, starter=load):
    edit = starter(folder)
    edit.act = ACTS[json.loads((Path(folder)/"config.json").read_text())["act"]]
    return edit
folders = save, load
"""),
]
