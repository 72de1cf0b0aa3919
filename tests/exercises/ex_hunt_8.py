"The reference's log-probs are all that is needed of it, so the weights of the start are kept and put in place while it is asked."
import torch
import torch.nn.functional as F
from ftlib.pairs import pair_logps


class Trainer:
    def __init__(self, policy, lr=1e-4, beta=0.1):
        self.policy, self.beta = policy, beta
        self.start = {name: p.detach().clone() for name, p in policy.named_parameters()}
        self.optimizer = torch.optim.AdamW((p for p in policy.parameters() if p.requires_grad), lr)

    @torch.no_grad()
    def of_start(self, batch):
        "Log-probs of both replies under the weights of the beginning."
        now = {name: p.detach().clone() for name, p in self.policy.named_parameters()}
        for name, p in self.policy.named_parameters(): p.copy_(self.start[name])
        logps = pair_logps(self.policy, batch)[:2]
        for name, p in self.policy.named_parameters(): p.copy_(now[name])
        return logps

    def step(self, batch):
        reference = self.of_start(batch)
        rewards = [self.beta*(mine - theirs) for mine, theirs in zip(pair_logps(self.policy, batch)[:2], reference)]
        loss = F.softplus(rewards[1] - rewards[0]).mean()
        self.policy.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item(), *(r.mean().item() for r in rewards)
