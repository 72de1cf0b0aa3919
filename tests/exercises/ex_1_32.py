"Count first what is hashed, and compare at the end."
import hashlib


def blob_oid(blocks, size):
    sha = hashlib.new("sha1", f"blob {size}\0".encode())
    left = size
    for block in blocks:
        left -= len(block)
        sha.update(block)
    if left: raise ValueError(f"the header promises {size} bytes, {-left:+d} came")
    return sha.hexdigest()
