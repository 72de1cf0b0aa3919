"One counter of rows since the beginning; epoch and place follow from it."
import random


class Shuffled:
    def __init__(self, n): self.n, self.seen = n, 0
    def state_dict(self): return {"seen": self.seen}
    def load_state_dict(self, state): self.seen = state["seen"]

    def __iter__(self):
        epoch, at = divmod(self.seen, self.n)
        order = list(range(self.n))
        random.Random(epoch).shuffle(order)
        for row in order[at:]:
            self.seen += 1
            yield row
