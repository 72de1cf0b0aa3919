"Exercise 1.41, solved by tokenising the replies themselves and adding an end to each."
from ftlib.chat import encode_literally, format_chat


def learnt(conversations, tokenizer):
    replies = [m["content"] for messages in conversations for m in messages if m["role"] == "assistant"]
    said = sum(len(ids) + 1 for ids in encode_literally(tokenizer, replies)) if replies else 0
    return said, sum(len(format_chat(messages, tokenizer)[0]) for messages in conversations)
