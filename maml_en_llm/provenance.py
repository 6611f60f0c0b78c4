"""Where a record comes from: hashes of weights."""

import hashlib


def weights_hash(model) -> str:
    """SHA-256 over names and float32 values of the parameters."""
    digest = hashlib.sha256()
    for name, p in sorted(model.named_parameters()):
        digest.update(name.encode() + p.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
