def corpus_loss(batches):
    total, count = 0.0, 0
    for loss, n in batches:
        total, count = total + loss*n, count + n
    return None if count == 0 else total/count
