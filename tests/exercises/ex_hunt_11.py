"Count first, so that each micro-batch knows its share before it goes backward."
from ftlib.logps import completion_nll


def accumulate(model, micro_batches):
    for p in model.parameters(): p.grad = None
    keys = ("input_ids", "attention_mask", "completion_mask")
    count = sum((b["completion_mask"]*b["attention_mask"])[:, 1:].sum().item() for b in micro_batches)
    losses = []
    for batch in micro_batches:
        share = completion_nll(model, *(batch[key] for key in keys))[0]/count
        share.backward()
        losses.append(share.detach())
    return sum(losses).item()
