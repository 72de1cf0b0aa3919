"Exercise 1.42, solved by trying how many of the last exchanges fit, from all of them downwards."
from ftlib.chat import format_chat


def shorten(messages, tokenizer, room):
    system = messages[:1] if messages[0]["role"] == "system" else []
    turns = messages[len(system):]
    for n in range(len(turns), 2, -2):
        kept = system + turns[-n:]
        if len(format_chat(kept, tokenizer)[0]) <= room: return kept
    return system + turns[-2:]
