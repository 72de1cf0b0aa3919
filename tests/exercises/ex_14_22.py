class reference:
    def __init__(self, model): self.model = model
    def __enter__(self):
        self.before = self.model.scale
        self.model.scale = 0.0
        return self.model
    def __exit__(self, *error): self.model.scale = self.before
