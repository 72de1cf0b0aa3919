"DPO beside trl's DPOTrainer on the same pairs: loss, gradients and logged rewards of every kind, three references, and where we differ."
import pytest
import torch
from models import MODELS, VOCAB, build, random_rows
from trl_side import cpo_formula, dpo_by_trl, dpo_trainer, gradients, trl_formula

from ftlib.data import load_tokenizer
from ftlib.dpo import Reference, dpo_loss, dpo_step, frozen_copy, implicit_rewards, reference_logps, with_reference
from ftlib.lora import load_lora, lora_disabled
from ftlib.losses import LOSSES
from ftlib.pairs import collate_apart, collate_pairs, pair_examples, pair_logps

from .gauge import close

pytestmark = pytest.mark.filterwarnings("ignore")
PROMPTS, CHOSEN, REJECTED = (1, 5, 3, 8, 1, 6), (4, 1, 6, 2, 1, 7), (2, 3, 1, 5, 1, 4)
KINDS = ("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero",
         "apo_down", "discopop", "sigmoid_norm")
SMOOTHED = {"exo_pair": 0.05, "robust": 0.2, "aot": 0.2, "aot_unpaired": 0.2}      # the kinds that read label_smoothing, in trl too
BETA = 0.3
BETAS = {"discopop": 0.05}      # it divides by a temperature of 0.05, which makes float32's error in a log-prob twenty times as large


def rows():
    "Pairs as token ids; prompts and replies of one token are among them."
    cut = lambda lengths, seed: random_rows(lengths, VOCAB, seed)
    both = zip(cut(PROMPTS, 1), cut(CHOSEN, 2), cut(REJECTED, 3))
    return [{"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in both]


@torch.no_grad()
def near(name, seed=7, std=0.01):
    "The same weights moved a little, so that the rewards are small numbers of both signs."
    model, g = build(name), torch.Generator().manual_seed(seed)
    for _, p in sorted(model.named_parameters()): p.add_(std*torch.randn(p.shape, generator=g))
    return model


def references(reference, batch): return Reference(reference).logps(None, batch)


def ours(model, ref, batch, kind="sigmoid", beta=BETA, **kw):
    "Our loss, its gradients and the rewards that trl would log."
    chosen, rejected, n, m = pair_logps(model, batch)
    loss = dpo_loss(chosen, rejected, *ref, beta, kind, chosen_lens=n, rejected_lens=m, **kw).mean()
    good, bad = (implicit_rewards(x.detach(), y, beta) for x, y in zip((chosen, rejected), ref))
    rewards = {"chosen": good.mean(), "rejected": bad.mean(), "accuracies": (good > bad).float().mean(), "margins": (good - bad).mean()}
    return *gradients(model, loss), {name: x.item() for name, x in rewards.items()}


def hf(name): return name.replace("ours", "hf")


@pytest.fixture(scope="module")
def trainers(tmp_path_factory):
    "A DPOTrainer of each model, with its reference: transformers' GPT-2 serves both of ours."
    made = {}
    def get(name):
        if hf(name) not in made:
            made[hf(name)] = dpo_trainer(build(hf(name)), rows(), tmp_path_factory.mktemp("trl"), near(hf(name)), beta=BETA)
        return made[hf(name)]
    return get


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_every_kind(name, kind, trainers):
    smoothing = {"label_smoothing": SMOOTHED[kind]} if kind in SMOOTHED else {}
    beta = BETAS.get(kind, BETA)
    theirs = dpo_by_trl(trainers(name), loss_types=[kind], beta=beta, **{"label_smoothing": 0.0, **smoothing})
    batch, model = collate_pairs(rows()), build(name)
    ref = references(near(name), batch)
    close(ours(model, ref, batch, kind, beta, **smoothing), theirs)


@pytest.mark.parametrize("name", MODELS)
def test_a_shifted_mask_fails(name, trainers):
    theirs = dpo_by_trl(trainers(name), loss_types=["sigmoid"], beta=BETA, label_smoothing=0.0)
    for key in ("chosen_mask", "rejected_mask"):
        batch = collate_pairs(rows())
        batch[key] = batch[key].roll(1, 1)
        with pytest.raises(AssertionError): close(ours(build(name), references(near(name), batch), batch), theirs)


def by_step(model, reference, batch, kind="sigmoid", **kw):
    "The same by what `fit` calls: sums over the pairs, and their number."
    total, n, sums = dpo_step(reference, BETA, kind, **kw)(model, batch)
    assert n == len(PROMPTS)
    logged = {"chosen": "chosen_reward", "rejected": "rejected_reward", "accuracies": "accuracy", "margins": "margin"}
    return *gradients(model, total/n), {theirs: sums[mine].item()/n for theirs, mine in logged.items()}


@pytest.mark.parametrize("collate", [collate_pairs, collate_apart])
@pytest.mark.parametrize("name", MODELS)
def test_the_step(name, collate, trainers):
    theirs = dpo_by_trl(trainers(name), loss_types=["sigmoid"], beta=BETA, label_smoothing=0.0)
    close(by_step(build(name), Reference(near(name)), collate(rows())), theirs)


@pytest.mark.parametrize("name", MODELS)
def test_precomputed(name, tmp_path):
    "trl writes the reference's log-probs into its data set; ours are the same numbers, and so is the step with them."
    trainer = dpo_trainer(build(hf(name)), rows(), tmp_path, near(hf(name)), beta=BETA, precompute_ref_log_probs=True)
    mine = reference_logps(near(name), [collate_pairs(rows())])
    want = torch.tensor([trainer.train_dataset[key] for key in ("ref_chosen_logps", "ref_rejected_logps")]).T
    assert mine.shape == want.shape and (mine - want).abs().max() <= 1e-5*want.abs().max()
    batch = collate_pairs(with_reference(near(name), rows(), batch_size=4))
    close(by_step(build(name), Reference(), batch), dpo_by_trl(trainer))


# --- a reference inside the model: the adapter switched off


def targets(name): return ["c_attn", "c_proj"] if name.startswith("gpt2") else ["q_proj", "v_proj", "down_proj"]


def with_adapter(name, tmp_path, std=0.05):
    "trl's trainer on a base with a fresh adapter, filled afterwards; trl switches it off for the reference."
    from peft import LoraConfig
    torch.manual_seed(0)
    made = dpo_trainer(build(hf(name)), rows(), tmp_path/"trl", beta=BETA,
                       peft_config=LoraConfig(r=2, lora_alpha=4, target_modules=targets(name), task_type="CAUSAL_LM"))
    with torch.no_grad():
        for p in made.model.parameters():
            if p.requires_grad: p.normal_(0, std)
    made.model.save_pretrained(tmp_path/"peft")
    return made


@pytest.mark.parametrize("name", MODELS)
def test_an_adapter_switched_off(name, tmp_path):
    trainer = with_adapter(name, tmp_path)
    loss, grads, rewards = dpo_by_trl(trainer)
    model, batch = load_lora(build(name), tmp_path/"peft").eval(), collate_pairs(rows())
    mine = by_step(model, Reference(disabled=lora_disabled), batch)
    as_peft = {f"base_model.model.{key.replace('.updates.default.', '.lora_')}.default.weight": g for key, g in mine[1].items()}
    close((mine[0], as_peft, mine[2]), (loss, grads, rewards))
    assert abs(rewards["margins"]) > 1e-3


# --- the formulas alone, in double precision


def sums(b=64, scale=8.0, seed=0):
    "Log-probs of policy and reference (2, b) and lengths (2, b); differences reach some ± 20 nats."
    g = torch.Generator().manual_seed(seed)
    ref = -40*torch.rand(2, b, generator=g, dtype=torch.float64)
    return ref + scale*torch.randn(2, b, generator=g, dtype=torch.float64), ref, torch.randint(1, 12, (2, b), generator=g)


def test_no_kind_is_left_out(): assert set(LOSSES) == {*KINDS, "cdpo", "simpo"}


def formula(kind, logps, ref, lens, beta=BETA, **kw):
    return dpo_loss(*logps, *ref, beta, kind, chosen_lens=lens[0], rejected_lens=lens[1], **kw)


def agree(mine, theirs, logps, eps=1e-9):
    "Values and gradients with respect to the log-probs (2, b)."
    for a, b in ((mine, theirs), [torch.autograd.grad(x, logps)[0] for x in (mine, theirs)]):
        assert a.dtype == b.dtype == torch.float64
        assert (a - b).abs().max() <= eps*max(1, b.abs().max()), (a - b).abs().max()


@pytest.mark.parametrize("beta", [0.05, 0.7])
@pytest.mark.parametrize("kind", KINDS)
def test_formulas_in_float64(kind, beta):
    logps, ref, lens = sums()
    logps.requires_grad_()
    smoothing = {"label_smoothing": SMOOTHED[kind]} if kind in SMOOTHED else {}
    losses = formula(kind, logps, ref, lens, beta, **smoothing)
    assert losses.shape == logps[0].shape
    agree(losses.mean(), trl_formula(kind, logps, ref, lens, beta=beta, **smoothing), logps)


def test_cdpo_is_trls_aot_of_single_pairs():
    "trl has no cDPO, but its AOT mixes the two labels in the same way, and with one pair there is nothing to sort."
    logps, ref, lens = sums(b=8)
    logps.requires_grad_()
    mine = formula("cdpo", logps, ref, lens, label_smoothing=0.2)
    theirs = [trl_formula("aot", logps[:, i:i+1], ref[:, i:i+1], lens[:, i:i+1], beta=BETA, label_smoothing=0.2) for i in range(8)]
    agree(mine.mean(), torch.stack(theirs).mean(), logps)


def test_simpo_is_trls_cpo():
    "SimPO stands in trl's experimental CPOTrainer; it takes means over tokens, as ours makes them from sums and lengths."
    logps, ref, lens = sums()
    logps.requires_grad_()
    for gamma in (0.5, 1.2):
        agree(formula("simpo", logps, ref, lens, 2.0, gamma=gamma).mean(), cpo_formula("simpo", logps/lens, beta=2.0, gamma=gamma).mean(), logps)


# --- where we differ on purpose


def test_trl_reloads_its_reference_by_name(tmp_path):
    "Given no reference, trl reads the weights anew from where the model's config says they came from; what was trained since is not in it."
    from transformers import GPT2LMHeadModel
    build("gpt2_hf").save_pretrained(tmp_path/"base")
    policy = GPT2LMHeadModel.from_pretrained(tmp_path/"base")
    policy.load_state_dict(near("gpt2_hf").state_dict())                            # a stage of training, in memory only
    trainer = dpo_trainer(policy, rows(), tmp_path/"trl", beta=BETA)
    assert abs(dpo_by_trl(trainer)[2]["margins"]) > 0.01                            # rewards before any step of DPO
    batch = collate_pairs(rows())
    policy = near("gpt2_hf")
    assert by_step(policy, Reference(frozen_copy(policy)), batch)[2]["margins"] == pytest.approx(0, abs=1e-6)


def test_trls_sigmoid_ignores_label_smoothing():
    "Ours has kinds that read it; asked for with any other it is an error, not a number without effect."
    logps, ref, lens = sums()
    with_it, without = (trl_formula("sigmoid", logps, ref, lens, beta=BETA, label_smoothing=e) for e in (0.2, 0.0))
    assert with_it == without
    assert (formula("cdpo", logps, ref, lens, label_smoothing=0.2).mean() - without).abs() > 0.01
    with pytest.raises(ValueError, match="label_smoothing"): formula("sigmoid", logps, ref, lens, label_smoothing=0.2)


@pytest.mark.parametrize("name", ["gpt2_hf", "qwen2_hf"])
def test_an_untrained_policy_has_accuracy_zero(name, tmp_path):
    "A policy that is its reference ties on every pair, and a tie is no success, there and here."
    rewards = dpo_by_trl(dpo_trainer(build(name), rows(), tmp_path, build(name)))[2]
    assert rewards == {"chosen": 0, "rejected": 0, "accuracies": 0, "margins": 0}
    assert by_step(build(name), Reference(build(name)), collate_pairs(rows()))[2] == rewards


def test_the_weight_of_sft(tmp_path):
    "trl's kind `sft` is a mean over the tokens of a batch; our `sft_weight` a mean over pairs, so that no pair outweighs another."
    same = [{**row, "chosen_ids": (row["chosen_ids"]*5)[:5]} for row in rows()]
    for examples, equal in ((same, True), (rows(), False)):
        trainer = dpo_trainer(build("gpt2_hf"), examples, tmp_path, near("gpt2_hf"), beta=BETA, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.5])
        mine, theirs = by_step(build("gpt2_hf"), Reference(near("gpt2_hf")), collate_pairs(examples), sft_weight=0.5), dpo_by_trl(trainer)
        if equal: close(mine, theirs)
        else: assert abs(mine[0] - theirs[0]) > 0.01


def test_trl_copies_an_adapter_it_is_handed(tmp_path):
    "A model that has an adapter already is its own reference in trl: the adapter is copied, not switched off."
    with_adapter("qwen2_hf", tmp_path)
    from peft import PeftModel
    model = PeftModel.from_pretrained(build("qwen2_hf"), tmp_path/"peft", is_trainable=True)
    assert dpo_by_trl(dpo_trainer(model, rows(), tmp_path/"again"))[2]["margins"] == 0


TEMPLATE = ("{% for m in messages %}[{{ m.role }}]\n{% if m.role == 'assistant' %}{{ m.content }}<|endoftext|>{% else %}{{ m.content }}\n"
            "{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}")
TEXTS = [{"prompt": "Where is the lamp?", "chosen": "On the table.", "rejected": "I do not know where the lamp is."},
         {"prompt": "Count to three.", "chosen": "1 2 3", "rejected": "3"}]
IDS = ("prompt_ids", "chosen_ids", "rejected_ids")


def conversation(row):
    turn = lambda role, key: [{"role": role, "content": row[key]}]
    return {"prompt": turn("user", "prompt"), "chosen": turn("assistant", "chosen"), "rejected": turn("assistant", "rejected")}


def trl_ids(rows, tokenizer, tmp_path, **kw):
    from trl import DPOTrainer
    model = build("gpt2_hf", vocab=len(tokenizer))
    made = dpo_trainer(model, rows, tmp_path, build("gpt2_hf", vocab=len(tokenizer)), made=DPOTrainer, tokenizer=tokenizer, **kw)
    return [{key: row[key] for key in IDS} for row in made.train_dataset]


def test_token_ids_in_the_tokenizers_own_template(tmp_path):
    tokenizer = load_tokenizer("tiny")
    tokenizer.chat_template = TEMPLATE
    mine = pair_examples(TEXTS, tokenizer)
    assert [{key: row[key] for key in IDS} for row in mine] == trl_ids([conversation(r) for r in TEXTS], tokenizer, tmp_path)


def test_the_end_of_a_reply(tmp_path):
    "trl ends replies of plain texts, and leaves conversations to the template; ours always end, in either template."
    tokenizer = load_tokenizer("tiny")
    end = tokenizer.eos_token_id
    ends = lambda examples: {e[key][-1] == end for e in examples for key in IDS[1:]}
    assert ends(trl_ids(TEXTS, tokenizer, tmp_path/"texts")) == ends(pair_examples(TEXTS, tokenizer)) == {True}
    tokenizer.chat_template = TEMPLATE.replace("<|endoftext|>", "\n")
    assert ends(trl_ids([conversation(r) for r in TEXTS], tokenizer, tmp_path/"chats")) == {False}


def test_what_is_too_long(tmp_path):
    "Both cut a reply at the window, its end included: trl's collator without a word, ours says so. A prompt without room is left out."
    tokenizer = load_tokenizer("tiny")
    tokenizer.chat_template = TEMPLATE
    long = [{**TEXTS[0], "chosen": "1 "*40}, {**TEXTS[0], "prompt": "Where? "*40}, TEXTS[1]]
    with pytest.warns(UserWarning, match="loses its end") as said: mine = pair_examples(long, tokenizer, 32)
    assert any("whose prompt leaves no room" in str(w.message) for w in said)
    theirs = trl_ids([conversation(r) for r in long], tokenizer, tmp_path, max_length=32)
    cut = [{key: ids if key == "prompt_ids" else ids[:32 - len(row["prompt_ids"])] for key, ids in row.items()} for row in theirs]
    assert [{key: row[key] for key in IDS} for row in mine] == cut
