import torch.nn.functional as F
from ftlib.jobs import Job


class Pieces(list):
    "Batches of rows in order."
    def __init__(self, x, y, size):
        super().__init__({"x": x[i:i + size], "y": y[i:i + size]} for i in range(0, len(y), size))


def regression_job(net, x, y, size):
    def step(model, batch):
        said = model(batch["x"]).squeeze(1)
        return F.mse_loss(said, batch["y"], reduction="sum"), said.numel(), {}
    def report(model):
        loss, rows, _ = step(model, {"x": x, "y": y})
        return {"mse": float(loss.detach())/rows}
    return Job(model=net, tokenizer=None, batches=Pieces(x, y, size), step=step, report=report,
               probe=lambda model: {f"held_out_{name}": value for name, value in report(model).items()})
