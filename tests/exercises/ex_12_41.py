"Exercise 12.41, solved by filling a new model with the weights of the live one."
from ftlib.gpt2 import GPT2LM


def reference_of(policy):
    kept = GPT2LM(policy.config)
    kept.load_state_dict({name: x.detach().clone() for name, x in policy.state_dict().items()})
    return kept.eval().requires_grad_(False)
