"Token by token: ratios first, then one sum for both replies."
import torch
import torch.nn.functional as F


def dpo(chosen, rejected, ref_chosen, ref_rejected, chosen_mask, rejected_mask, beta=0.1):
    rewards = [torch.einsum("bt,bt->b", policy - reference, mask.to(policy.dtype))*beta
               for policy, reference, mask in ((chosen, ref_chosen, chosen_mask), (rejected, ref_rejected, rejected_mask))]
    margin = rewards[0] - rewards[1]
    return F.softplus(-margin), *(r.detach() for r in rewards)
