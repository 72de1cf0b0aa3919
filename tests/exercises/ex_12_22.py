import torch


def guess_temperature(logits, ids, told, candidates):
    t = torch.tensor(candidates)[:, None, None]
    logps = torch.log_softmax(logits[None]/t, -1)[:, torch.arange(len(ids)), ids]
    return candidates[int((logps - told).abs().sum(-1).argmin())]
