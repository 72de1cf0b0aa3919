def put_in_order(arrived, k):
    found = {}
    for number, answer in arrived:
        for choice in answer["choices"]: found[number, choice["index"]] = choice["token_ids"]
    prompts = sorted({number for number, _ in arrived})
    try: return [found[number, i] for number in prompts for i in range(k)]
    except KeyError as missing: raise ValueError(f"completion {missing} did not arrive") from None
