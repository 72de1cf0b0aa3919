"Bound methods all the way: the earlier forward is kept on the model, where a copy finds its own."
import types


def with_temperature(model, t):
    earlier = model.__dict__.get("forward")             # None: that of the class

    def divided(self, *args, **kwargs):
        inner = self.earlier_forwards[divided]
        out = inner(*args, **kwargs) if inner is not None else type(self).forward(self, *args, **kwargs)
        out.logits = out.logits/t
        return out

    model.earlier_forwards = {**getattr(model, "earlier_forwards", {}), divided: earlier}
    model.forward = types.MethodType(divided, model)
    return model
