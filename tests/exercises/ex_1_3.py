from ftlib.data import split_groups


def split(rows, seed):
    train, test = split_groups([row["original_id"] for row in rows], 0.25, seed)
    return [rows[i] for i in train], [rows[i] for i in test]
