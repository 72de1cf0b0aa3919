"One counter of batches since the beginning; epoch and place follow from it."
import torch


class Source:
    def __init__(self, batches): self.batches, self.used = batches, 0
    def __len__(self): return len(self.batches)
    def state_dict(self): return {"used": self.used}
    def load_state_dict(self, state): self.used = state["used"]

    def __iter__(self):
        epoch, at = divmod(self.used, len(self))
        for i in torch.randperm(len(self), generator=torch.Generator().manual_seed(epoch))[at:].tolist():
            self.used += 1
            yield self.batches[i]
