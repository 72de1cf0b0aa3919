"No positions needed if no row is padded: score each row alone."
import torch


def logps_of_rows(model, ids, mask):
    sums = []
    for row, m in zip(ids, mask.bool()):
        row = row[m]
        logits = model(input_ids=row[None], attention_mask=torch.ones_like(row)[None], position_ids=torch.arange(len(row))[None]).logits[0]
        sums.append(-torch.nn.functional.cross_entropy(logits[:-1], row[1:], reduction="sum"))
    return torch.stack(sums)
