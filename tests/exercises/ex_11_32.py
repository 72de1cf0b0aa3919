"Each part with its length before it, so that no two lists of parts read the same."
import hashlib


def name_of(base_url, model, messages):
    parts = [base_url, model] + [m[key] for m in messages for key in ("role", "content")]
    found = hashlib.blake2b()
    for part in parts: found.update(f"{len(part.encode())}:{part}".encode())
    return found.hexdigest()
