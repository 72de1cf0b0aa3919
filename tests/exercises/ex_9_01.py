def loreft(h, R, W, b):
    kept = h - h @ R @ R.transpose(0, 1)
    return kept + (h @ W.transpose(0, 1) + b) @ R.transpose(0, 1)
