"trl's trainers for the parity tests: on the CPU, in float32, without checkpointing, and given token ids where a test has them."
from collections import defaultdict
from types import SimpleNamespace

import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer
from trl.trainer.utils import add_fused_lm_head

from ftlib.data import load_tokenizer

REWARDS = ("chosen", "rejected", "accuracies", "margins")
PLAIN = dict(use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], disable_tqdm=True)


class DPOOnIds(DPOTrainer):
    "A DPOTrainer whose rows are token ids already."
    def _prepare_dataset(self, dataset, *args): return dataset


class RewardOnIds(RewardTrainer):
    "A RewardTrainer whose rows are token ids already."
    def _prepare_dataset(self, dataset, *args): return dataset


def dpo_trainer(model, rows, tmp_path, ref_model=None, *, peft_config=None, made=DPOOnIds, tokenizer=None, max_length=None, **kw):
    config = DPOConfig(str(tmp_path), max_length=max_length, **PLAIN, **kw)
    return made(model, ref_model, config, train_dataset=Dataset.from_list(rows), peft_config=peft_config,
                processing_class=tokenizer or load_tokenizer("tiny"))


def sft_trainer(model, rows, tmp_path, tokenizer=None, max_length=None, **kw):
    config = SFTConfig(str(tmp_path), max_length=max_length, **PLAIN, **kw)
    return SFTTrainer(model, config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer or load_tokenizer("tiny"))


def reward_trainer(model, rows, tmp_path):
    config = RewardConfig(str(tmp_path), max_length=None, **PLAIN)
    return RewardOnIds(model, config, train_dataset=Dataset.from_list(rows), processing_class=load_tokenizer("tiny"))


def whole_batch(trainer):
    "All rows of the trainer's data set, as its own collator lays them out."
    return trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])


def gradients(model, loss):
    "(loss, {name: gradient}); what the loss did not reach has none."
    model.zero_grad()
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def dpo_by_trl(trainer, **attributes):
    "The trainer's loss, its gradients and the rewards it logs; `attributes` are what DPOConfig would have set."
    for name, value in attributes.items(): setattr(trainer, name, value)
    trainer._metrics["train"].clear()
    loss, grads = gradients(trainer.model, trainer.compute_loss(trainer.model.train(), whole_batch(trainer)))
    return loss, grads, {name: trainer._metrics["train"][f"rewards/{name}"][0] for name in REWARDS}


def trl_formula(kind, logps, ref_logps, lens, *, beta, label_smoothing=0.0):
    "trl's own `_compute_loss` on given sums of log-probs, (2, b) each with the chosen first: the mean loss, in their precision."
    here, b, t = logps.dtype, logps.shape[1], int(max(lens.max(), 1)) + 1
    done = (torch.arange(t)[None] >= 1) & (torch.arange(t)[None] <= lens.flatten()[:, None])
    first = torch.zeros(2*b, t - 1, dtype=here)
    first[:, 0] = 1                                                  # all of a reply's log-prob stands at its first token
    out = SimpleNamespace(log_probs=first*logps.flatten()[:, None], entropy=first, mean_logits=first, is_top1=first > 0)
    same, accelerator = lambda x: x, SimpleNamespace(device=torch.device("cpu"))
    accelerator.gather = accelerator.gather_for_metrics = same
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True), accelerator=accelerator, aux_loss_enabled=False, ld_alpha=None, precompute_ref_logps=True,
        f_divergence_type="reverse_kl", loss_types=[kind], loss_weights=[1.0], beta=beta, label_smoothing=label_smoothing,
        use_weighting=False, args=SimpleNamespace(discopop_tau=0.05), _metrics={"train": defaultdict(list)}, _total_train_tokens=0, _tp_size=1)
    batch = {"input_ids": done.long(), "attention_mask": done.long(), "completion_mask": done.long(),
             "ref_chosen_logps": ref_logps[0], "ref_rejected_logps": ref_logps[1]}
    before = torch.get_default_dtype()
    torch.set_default_dtype(here)                                    # exo_pair makes a tensor of its label smoothing
    try: return DPOTrainer._compute_loss(trainer, lambda **kw: out, batch, False)
    finally: torch.set_default_dtype(before)


def cpo_formula(kind, logps, *, beta, gamma=0.5, label_smoothing=0.0):
    "Losses (b,) of trl's experimental CPOTrainer, the one that has SimPO; `logps` (2, b) are means over tokens there."
    from trl.experimental.cpo import CPOTrainer
    trainer = SimpleNamespace(alpha=0.0, loss_type=kind, beta=beta, simpo_gamma=gamma, label_smoothing=label_smoothing,
                              accelerator=SimpleNamespace(device=logps.device))
    return CPOTrainer.cpo_loss(trainer, *logps)[0]


class RLOOOnIds(RLOOTrainer):
    "An RLOOTrainer whose prompts are numbers of rows, and whose completions are given: {number: (prompt's ids, its k completions, their rewards)}."
    def _tokenize_prompts(self, prompts): return [self.given[int(p)][0] for p in prompts], None, {}

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields):
        return [self.given[int(p)][1][j] for p, j in self.asked]


def rloo_trainer(model, given, tmp_path, ref_model=None, *, k, beta=0.0, made=RLOOOnIds, rewards=1, **kw):
    """Its reference is put in by hand: trl would read one by the model's name, and a model in memory has none.
    `rewards`: how many functions; the i-th gives the i-th of a completion's rewards."""
    def part(i):
        def reward(prompts, completions, **columns):
            found = [given[int(p)][2][j] for p, j in trainer.asked]
            return [x if rewards == 1 else x[i] for x in found]
        reward.__name__ = f"part{i}"
        return reward
    config = RLOOConfig(str(tmp_path), per_device_train_batch_size=k*len(given), num_generations=k, beta=0.0, **PLAIN, **kw)
    rows = Dataset.from_list([{"prompt": str(i)} for i in given])
    trainer = made(model, [part(i) for i in range(rewards)], config, train_dataset=rows, processing_class=load_tokenizer("tiny"))
    trainer.given, trainer.beta, trainer.ref_model = given, beta, ref_model
    if ref_model is not None: add_fused_lm_head(ref_model, temperature=trainer.temperature)
    return trainer


def rloo_rollout(trainer, order):
    "What the trainer makes of the completions of the prompts in this order: its inputs for the loss."
    k = trainer.num_generations
    trainer.asked = [(i, j) for i in order for j in range(k)]
    trainer._metrics["train"].clear()
    trainer.model.train()
    return trainer._generate_and_score_completions([{"prompt": str(i)} for i, _ in trainer.asked])
