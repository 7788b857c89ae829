"""Open a sealed bundle, of a model or a dataset, with general-purpose libraries alone: python -m pip install cryptography jwcrypto

    python open_sealed.py BUNDLE KEY.jwk.json OUT

OUT must not exist; it is made only when every file opens and has its listed digest. The signature is NOT checked, and
anybody can seal for a public key: check OUT against BUNDLE/model.sig (dataset.sig) with any verifier of OpenSSF Model Signing v1.0.
"""
import json
import sys
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import constant_time, hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from jwcrypto import common, jwe, jwk

# The kind of key decides the algorithm, never the file: a recipient's header is not authenticated.
ALGORITHMS = {"oct": "A256KW", "RSA": "RSA-OAEP-256", "EC": "ECDH-ES+A256KW"}


def require(holds, refusal):
    if not holds:
        sys.exit(f"refused: {refusal}")


def open_file(sealed, data_key, context):
    salt, commitment, chunks = sealed[:24], sealed[24:56], sealed[56:]
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    derived = HKDFExpand(hashes.SHA512(), 32 + 12 + 32, info).derive(data_key)
    committed = len(data_key) == 32 and constant_time.bytes_eq(derived[44:], commitment)
    require(committed, "sealed with another data key, or for another bundle or path")
    require(len(chunks) % 16400 >= 16, "a file was cut off")  # a whole one ends in a chunk that is not full
    cipher, nonce = AESGCM(derived[:32]), int.from_bytes(derived[32:44], "big")
    pieces = enumerate(chunks[start : start + 16400] for start in range(0, len(chunks), 16400))
    return b"".join(cipher.decrypt((nonce ^ index).to_bytes(12, "big"), piece, None) for index, piece in pieces)


bundle, key_file, out = (Path(argument).resolve() for argument in sys.argv[1:])
# What a bundle is of is part of what all in it is bound to.
signature, kind = ("dataset.sig", "dataset-statement") if (bundle / "dataset.sig").exists() else ("model.sig", "statement")
statement = b64decode(json.loads((bundle / signature).read_bytes())["dsseEnvelope"]["payload"], validate=True)
binding = f"fastify-model-guard/v1\n{kind}:sha256:{sha256(statement).hexdigest()}"
key, envelope = jwk.JWK.from_json(key_file.read_text()), json.loads((bundle / "key.jwe.json").read_bytes())
require(json.loads(common.base64url_decode(envelope["protected"])) == {"enc": "A256GCM"}, "unknown encryption")
require(envelope["aad"] == common.base64url_encode(binding), "the data key belongs to another statement")
recipients = [recipient for recipient in envelope["recipients"] if recipient["header"].get("kid") == key["kid"]]
require(len(recipients) == 1, f"{len(recipients)} recipients are called {key['kid']!r}")
token = jwe.JWE(algs=[ALGORITHMS[key["kty"]], "A256GCM"])
token.deserialize(json.dumps(envelope | {"recipients": recipients}), key)
files = {}
for resource in json.loads(statement)["predicate"]["resources"]:
    name, path = resource["name"], (out / resource["name"]).resolve()
    require(out in path.parents and path.relative_to(out).as_posix() == name, f"{name!r} leads out of the bundle")
    files[path] = open_file((bundle / f"{name}.sealed").read_bytes(), token.payload, f"{binding}\n{name}".encode())
    listed = (resource["algorithm"], resource["digest"])
    require(listed == ("sha256", sha256(files[path]).hexdigest()), f"{name!r} is not the file that was listed")
out.mkdir(parents=True)
for path, content in files.items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
