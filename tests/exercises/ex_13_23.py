"Exercise 13.23, solved by counting how often each reply was drawn."
import torch


def kl_from_data(p, q, d, replies):
    share = torch.bincount(replies, minlength=len(p))/len(replies)
    return (share/d*p*(p/q).log()).sum().item()
