def invented(text, prompt):
    plain = lambda word: word.strip(".,;:").lower()
    known, out = {plain(word) for word in prompt.split()}, []
    words = text.split()
    for i, word in enumerate(words[:-4]):
        if word != "is" or words[i+2:i+4] != ["and", "not"]: continue
        for value in (words[i+1], words[i+4].rstrip(".")):
            if plain(value) not in known and value not in out: out.append(value)
    return out
