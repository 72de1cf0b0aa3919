def lora_forward(x, W, A, B, alpha, drop):
    r = A.shape[0]
    low = drop(x) @ A.t()
    return x @ W.t() + (low @ B.t())*(alpha/r)
