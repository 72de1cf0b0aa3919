"PyTorch's own losses can sum."
from torch.nn.functional import l1_loss, mse_loss


def step(model, batch):
    guess, y = model(batch["x"]).squeeze(1), batch["y"]
    return mse_loss(guess, y, reduction="sum"), y.numel(), {"mae": l1_loss(guess, y, reduction="sum").item()}
