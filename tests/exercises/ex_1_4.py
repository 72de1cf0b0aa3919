class Stream:
    def __init__(self, batches, state=0): self.batches, self.state = batches, state

    def __iter__(self): return self

    def __next__(self):
        if self.state == len(self.batches): raise StopIteration
        self.state += 1
        return self.batches[self.state - 1]
