"The losses, summed and divided."
from ftlib.policy import rloo_advantages


def on_policy_losses(rewards):
    n = rewards.numel()
    centred = rewards - rewards.sum(1, keepdim=True)/rewards.shape[1]
    return -rloo_advantages(rewards).sum().item()/n, -centred.sum().item()/n
