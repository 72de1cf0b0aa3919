"""Small random models and ragged batches for the tests.

Weights are wide (std 0.2, biases and norms too), so that a mask shifted by one or a dropped bias changes the loss visibly.
Nothing here has a pad token: real tokens take every id, the padding's id included, so a mask made from ids instead of lengths fails.
"""
import torch

VOCAB = 97
MODELS = ("gpt2_ours", "gpt2_hf", "llama_hf", "qwen2_hf")


@torch.no_grad()
def widen(model, seed=0, std=0.2):
    "Fill every parameter from one seeded generator; norms stay near 1. Returns the model in eval mode."
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=g)*std
        p.copy_(1 + noise if p.dim() == 1 and name.endswith("weight") else noise)
    return model.float().eval()


def gpt2_hf(vocab=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, seed=0, dropout=0.0, **kw):
    "A transformers GPT-2."
    from transformers import GPT2Config, GPT2LMHeadModel
    config = GPT2Config(vocab_size=vocab, n_embd=n_embd, n_layer=n_layer, n_head=n_head, n_positions=n_positions, embd_pdrop=dropout,
                        attn_pdrop=dropout, resid_pdrop=dropout, bos_token_id=None, eos_token_id=None, **kw)
    return widen(GPT2LMHeadModel(config), seed)


def gpt2_ours(vocab=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, seed=0, dropout=0.0):
    "ftlib's GPT-2 with exactly the weights of `gpt2_hf` called with the same arguments."
    from ftlib.gpt2 import GPT2LM, GPT2Config
    model = GPT2LM(GPT2Config(vocab_size=vocab, n_embd=n_embd, n_layer=n_layer, n_head=n_head, n_positions=n_positions,
                              embd_pdrop=dropout, attn_pdrop=dropout, resid_pdrop=dropout))
    theirs = gpt2_hf(vocab, n_embd, n_layer, n_head, n_positions, seed).state_dict()
    missing, unexpected = model.load_state_dict(theirs, strict=False)
    assert set(missing) | set(unexpected) <= {"lm_head.weight"}, (missing, unexpected)   # the tied head may be kept once or twice
    return model.float().eval()


def llama_hf(vocab=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, seed=0, **kw):
    "A transformers Llama: rotary positions, grouped keys and values, an untied head."
    from transformers import LlamaConfig, LlamaForCausalLM
    config = LlamaConfig(vocab_size=vocab, hidden_size=n_embd, intermediate_size=2*n_embd, num_hidden_layers=n_layer,
                         num_attention_heads=n_head, num_key_value_heads=n_head//2, max_position_embeddings=n_positions,
                         tie_word_embeddings=False, bos_token_id=None, eos_token_id=None, pad_token_id=None, **kw)
    return widen(LlamaForCausalLM(config), seed)


def qwen2_hf(vocab=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, seed=0, **kw):
    "A transformers Qwen2: rotary positions, biased queries, keys and values, a tied head."
    from transformers import Qwen2Config, Qwen2ForCausalLM
    config = Qwen2Config(vocab_size=vocab, hidden_size=n_embd, intermediate_size=2*n_embd, num_hidden_layers=n_layer,
                         num_attention_heads=n_head, num_key_value_heads=n_head//2, max_position_embeddings=n_positions,
                         tie_word_embeddings=True, bos_token_id=None, eos_token_id=None, pad_token_id=None, **kw)
    return widen(Qwen2ForCausalLM(config), seed)


def build(name, **kw):
    "One of `MODELS` by name, made anew, so that a test may change it."
    return {"gpt2_ours": gpt2_ours, "gpt2_hf": gpt2_hf, "llama_hf": llama_hf, "qwen2_hf": qwen2_hf}[name](**kw)


def random_rows(lengths, vocab=VOCAB, seed=0):
    "Lists of token ids of the given lengths; the first and last token of a row may be 0, the id that padding has."
    g = torch.Generator().manual_seed(seed)
    rows = [torch.randint(0, vocab, (n,), generator=g).tolist() for n in lengths]
    for i, row in enumerate(rows):
        if len(row) > 1: row[-1 if i % 2 else 0] = 0
    return rows


def pad(rows, side="right", pad_id=0, width=None):
    "Rows of ids -> (ids, attention mask), both (b, t) int64, padded on one side."
    t = max(max(map(len, rows)), width or 0)
    ids, mask = torch.full((len(rows), t), pad_id), torch.zeros(len(rows), t, dtype=torch.long)
    for i, row in enumerate(rows):
        where = slice(t - len(row), t) if side == "left" else slice(0, len(row))
        ids[i, where], mask[i, where] = torch.tensor(row), 1
    return ids, mask


def unpad(ids, mask):
    "The rows of a padded batch, each a (1, n) tensor."
    return [row[m.bool()][None] for row, m in zip(ids, mask)]


def ragged_batch(lengths=(1, 7, 4, 12, 1, 9), vocab=VOCAB, side="right", seed=0, pad_id=0):
    "Mixed lengths with one-token rows -> (ids, attention mask), both (b, t)."
    return pad(random_rows(lengths, vocab, seed), side, pad_id)


def ragged_pairs(prompts=(1, 5, 3, 8, 1), completions=(4, 1, 6, 2, 1), vocab=VOCAB, side="right", seed=0, pad_id=0):
    "Prompts followed by completions, one-token ones among both -> (ids, attention mask, completion mask), all (b, t)."
    ids, mask = pad(random_rows([p + c for p, c in zip(prompts, completions)], vocab, seed), side, pad_id)
    done, _ = pad([[0]*p + [1]*c for p, c in zip(prompts, completions)], side)
    return ids, mask, done
