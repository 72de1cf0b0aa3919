"Conversations as tokens: the template, literal contents, masks, a model's own template, and batches equal to single calls."
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftlib.chat import ROLES, encode_literally, format_chat, format_chats, prompt_chat, reply_ends
from ftlib.data import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(): return load_tokenizer("tiny")


@pytest.fixture
def templated():
    own = load_tokenizer("tiny")
    own.chat_template = ("{% for m in messages %}[{{ m.role }}]\n{{ m.content }}\n{% if m.role == 'assistant' %}<|endoftext|>{% endif %}{% endfor %}"
                         "{% if add_generation_prompt %}[assistant]\n{% endif %}")
    return own


def say(role, content): return {"role": role, "content": content}


contents = st.text(max_size=30) | st.sampled_from(["<|endoftext|>", "<|assistant|>no", "a <|user|> b", "\n\n", " "])
talks = st.tuples(st.none() | contents, st.lists(st.tuples(contents, contents), min_size=1, max_size=3)).map(
    lambda t: [say("system", t[0])]*(t[0] is not None) + [m for q, a in t[1] for m in (say("user", q), say("assistant", a))])


@settings(max_examples=120, deadline=None)
@given(talks)
def test_what_was_said_can_be_read_back(tokenizer, messages):
    "The text of the ids is the template's; the mask holds each reply and its end; nobody but the template ends a turn."
    ids, mask = format_chat(messages, tokenizer)
    text = "".join(f"<|{m['role']}|>{m['content']}" + ("<|endoftext|>" if m["role"] == "assistant" else "\n") for m in messages)
    assert tokenizer.decode(ids, skip_special_tokens=False) == text and len(ids) == len(mask)
    learnt, replies = [i for i, m in zip(ids, mask) if m], [m["content"] for m in messages if m["role"] == "assistant"]
    assert tokenizer.decode(learnt, skip_special_tokens=False) == "".join(f"{reply}<|endoftext|>" for reply in replies)
    assert ids.count(tokenizer.eos_token_id) == len(replies) == learnt.count(tokenizer.eos_token_id)
    for role in ROLES: assert ids.count(tokenizer.convert_tokens_to_ids(f"<|{role}|>")) == sum(m["role"] == role for m in messages)


@settings(max_examples=60, deadline=None)
@given(talks)
def test_training_and_use_see_the_same_prompt(tokenizer, messages):
    ids, mask = format_chat(messages, tokenizer)
    start = prompt_chat(messages[:-1], tokenizer)
    assert ids[:len(start)] == start and mask[len(start)] == 1 == min(mask[len(start):])


def test_many_are_the_same_as_one(tokenizer):
    some = [[say("user", f"Question {i}"), say("assistant", "Yes. "*i)] for i in range(20)] + [[say("system", "x"), say("user", ""), say("assistant", "")]]
    assert format_chats(some, tokenizer) == [format_chat(m, tokenizer) for m in some]
    assert format_chats(iter([]), tokenizer) == []


def test_settings_of_the_tokenizer_stay(tokenizer):
    backend = tokenizer.backend_tokenizer
    tokenizer(["a b c d e f", "a"], padding=True, truncation=True, max_length=2)     # leaves truncation and padding set
    ids, = encode_literally(tokenizer, ["a b c d e f <|endoftext|>"])
    assert len(ids) > 6 and tokenizer.eos_token_id not in ids and backend.encode_special_tokens is False
    assert tokenizer("<|endoftext|>")["input_ids"] == [tokenizer.eos_token_id]


def test_gpt2s_tokenizer_has_markers_as_text(shared_data):
    gpt2 = load_tokenizer(shared_data/"gpt2_tokenizer")
    ids, mask = format_chat([say("user", "Hi <|endoftext|>"), say("assistant", "Yes.")], gpt2)
    assert gpt2.decode(ids) == "<|user|>Hi <|endoftext|>\n<|assistant|>Yes.<|endoftext|>" and ids.count(gpt2.eos_token_id) == 1
    assert gpt2.decode([i for i, m in zip(ids, mask) if m]) == "Yes.<|endoftext|>"


def test_a_models_own_template(templated):
    messages = [say("system", "S"), say("user", "Q"), say("assistant", "A"), say("user", "R"), say("assistant", "B")]
    ids, mask = format_chat(messages, templated)
    assert ids == templated.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
    assert templated.decode([i for i, m in zip(ids, mask) if m]) == "A\n<|endoftext|>B\n<|endoftext|>"
    assert prompt_chat(messages[:-1], templated) == ids[:len(prompt_chat(messages[:-1], templated))]


def test_a_template_that_rewrites_is_refused(templated):
    templated.chat_template = "{{ messages | length }}: {% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.raises(ValueError, match="the chat template rewrites what stands before message"): format_chat([say("user", "Q"), say("assistant", "A")]*2, templated)


@pytest.mark.parametrize("messages,says", [([], "a conversation is a list of messages"), ("Hi", "a conversation is a list of messages"), ([say("bot", "x")], "unknown role of message 0: 'bot'"),
                                           ([say("user", "x"), say("assistant", None)], "message 1 \\(assistant\\) has the content None"), (["Hi"], "unknown role of message 0")])
def test_what_is_no_conversation(tokenizer, messages, says):
    with pytest.raises((ValueError, KeyError), match=says): format_chat(messages, tokenizer)


def test_nothing_to_reply_to(tokenizer):
    with pytest.raises(ValueError, match="the last message is the assistant's"): prompt_chat([say("user", "Q"), say("assistant", "A")], tokenizer)


def test_a_template_that_marks_what_is_learnt(templated):
    "With {% generation %} the mask is what the template says, even where prefixes would say otherwise."
    templated.chat_template = ("{% for m in messages %}[{{ m.role }}]\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|endoftext|>{% endgeneration %}"
                               "{% else %}{{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}")
    messages = [say("user", "Q"), say("assistant", "A"), say("user", "R"), say("assistant", "B")]
    ids, mask = format_chat(messages, templated)
    assert templated.decode([i for i, m in zip(ids, mask) if m]) == "A<|endoftext|>B<|endoftext|>"
    known = templated.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    assert ids == known["input_ids"] and mask == list(known["assistant_masks"])


def test_a_template_that_refuses_says_so(templated):
    templated.chat_template = "{{ raise_exception('no system turn, please') }}"
    with pytest.raises(ValueError, match="the model's chat template refuses a conversation: no system turn, please"): format_chat([say("user", "Q"), say("assistant", "A")], templated)


def test_a_template_without_an_end_is_warned_of(templated):
    templated.chat_template = "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}"
    with pytest.warns(UserWarning, match="ends no reply with a special token"): format_chat([say("user", "Q"), say("assistant", "A")], templated)


def test_what_ends_a_reply(tokenizer, templated):
    assert reply_ends(tokenizer) == [tokenizer.eos_token_id]
    templated.chat_template = templated.chat_template.replace("<|endoftext|>", "<|pad|>")
    assert reply_ends(templated) == [templated.eos_token_id, templated.convert_tokens_to_ids("<|pad|>")]


def test_a_token_that_starts_every_text():
    "As Llama's: it comes first, once, and is not learnt."
    from tokenizers.processors import TemplateProcessing
    own = load_tokenizer("tiny")
    own.backend_tokenizer.post_processor = TemplateProcessing(single="<|pad|> $A", special_tokens=[("<|pad|>", 1)])
    ids, mask = format_chat([say("user", "Q"), say("assistant", "A")]*2, own)
    assert ids[0] == 1 and ids.count(1) == 1 and mask[0] == 0 and prompt_chat([say("user", "Q")], own)[0] == 1


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(ValueError, match="object is no fast tokenizer: load one with load_tokenizer"): encode_literally(object(), ["a"])
