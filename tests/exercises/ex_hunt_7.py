"Modes kept and put back by hand."
import torch
from ftlib.logps import completion_logps
from ftlib.policy import likelihood_ratios, rloo_loss


def update(model, optimizer, batch, clip=0.2):
    had = [(m, m.training) for m in model.modules()]
    model.eval()
    optimizer.zero_grad()
    logps, mask = completion_logps(model, *(batch[k] for k in ("input_ids", "attention_mask", "completion_mask")))
    loss = rloo_loss(logps, batch["old_logps"], batch["advantages"], mask, clip)
    loss.sum().div(len(loss)).backward()
    optimizer.step()
    for m, training in had: m.training = training
    with torch.no_grad(): return likelihood_ratios(logps, batch["old_logps"], mask)
