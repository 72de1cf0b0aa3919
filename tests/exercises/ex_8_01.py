def megabytes(n_all, n_trained):
    frozen = n_all - n_trained
    return (frozen*4 + n_trained*4*4)/1024**2
