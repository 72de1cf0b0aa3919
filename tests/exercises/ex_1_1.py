import torch


def pad_left(seqs, pad_id):
    width = max(map(len, seqs))
    ids, mask = torch.full((len(seqs), width), pad_id), torch.zeros(len(seqs), width, dtype=torch.long)
    for i, seq in enumerate(seqs):
        ids[i, width - len(seq):] = torch.tensor(seq)
        mask[i, width - len(seq):] = 1
    return ids, mask
