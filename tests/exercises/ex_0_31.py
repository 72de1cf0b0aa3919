def quoted(text, evidence):
    sentences, start = [], 0
    for i, sign in enumerate(evidence):
        if sign == "." and (i + 1 == len(evidence) or evidence[i + 1].isspace()):
            sentences.append(evidence[start:i + 1].strip())
            start = i + 1
    return [sentence for sentence in sentences if sentence in text]
