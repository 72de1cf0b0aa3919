class reporter:
    "What was scored at the start is kept in the object."
    def __init__(self, score, model): self.score, self.kept = score, {"untrained": score(model)}
    def __call__(self, trained): return {"trained": self.score(trained)} | self.kept
