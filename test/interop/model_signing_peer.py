"""Signs or verifies with Python's model_signing, as told by one JSON object: python model_signing_peer.py '{"do": "sign", ...}'"""
import json
import sys

from model_signing import hashing, signing, verifying

told = json.loads(sys.argv[1])
model, signature = told["model"], told["signature"]


def hashed():
    config = hashing.Config()
    if "shard_size" in told:
        config.use_shard_serialization(hashing_algorithm=told["hash"], shard_size=told["shard_size"])
    else:
        config.use_file_serialization(hashing_algorithm=told["hash"])
    return config.set_ignored_paths(paths=[signature, *told.get("ignored", [])])


if told["do"] == "sign":
    config = signing.Config()
    if "certificate" in told:
        config.use_certificate_signer(private_key=told["key"], signing_certificate=told["certificate"], certificate_chain=told["chain"])
    else:
        config.use_elliptic_key_signer(private_key=told["key"])
    config.set_hashing_config(hashed()).sign(model, signature)
else:
    config = verifying.Config()
    if "chain" in told:
        config.use_certificate_verifier(certificate_chain=told["chain"])
    else:
        config.use_elliptic_key_verifier(public_key=told["key"])
    # Left to guess, it asks itself for a hash of the name in the signature, and knows BLAKE2b by another.
    config.set_hashing_config(hashed()).verify(model, signature)
