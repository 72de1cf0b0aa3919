"A penalty for each completion, in a loop."


def beta_for(batch, cost):
    found = []
    for old, ref, mask in zip(batch["old_logps"], batch["ref_logps"], batch["mask"]):
        found.append(sum((a - b).item() for a, b, m in zip(old, ref, mask) if m))
    return cost*len(found)/sum(found)
