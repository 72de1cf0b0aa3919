def training_gb(n, trained, activations):
    frozen = 2*(n - trained)
    weights, gradients, averages = 4*trained, 4*trained, 8*trained
    return (frozen + weights + gradients + averages)*1e-9 + activations
