"By hand: a mask from an arange and the lengths."
import torch


def collate(examples, pad_id):
    starts = torch.tensor([len(p) for p, _ in examples])[:, None]
    ends = torch.tensor([len(p) + len(c) for p, c in examples])[:, None]
    place = torch.arange(int(ends.max()))
    ids = torch.full((len(examples), len(place)), pad_id)
    for row, (p, c) in zip(ids, examples): row[:len(p) + len(c)] = torch.tensor(p + c)
    learnt = (place >= starts) & (place < ends)
    return {"input_ids": ids, "attention_mask": (place < ends).long(), "labels": torch.where(learnt, ids, -100)}
