"""Seal a signed model with one general-purpose library alone: python -m pip install cryptography

    python seal_model.py MODEL KEY.jwk.json BUNDLE

MODEL holds the files and model.sig, method "files" with sha256; BUNDLE must not exist. KEY is who can open it: an oct key
(A256KW) or an RSA key (RSA-OAEP-256). That MODEL is what was signed for is checked; who signed it is NOT.
"""
import json
import os
import sys
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.keywrap import aes_key_wrap


def encode(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def wrap(jwk, key):
    if jwk["kty"] == "oct":
        return {"alg": "A256KW"}, aes_key_wrap(urlsafe_b64decode(jwk["k"] + "=="), key)
    e, n = (int.from_bytes(urlsafe_b64decode(jwk[name] + "=="), "big") for name in "en")
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return {"alg": "RSA-OAEP-256"}, rsa.RSAPublicNumbers(e, n).public_key().encrypt(key, oaep)


def seal(plain, data_key, context):
    salt = os.urandom(24)
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    derived = HKDFExpand(hashes.SHA512(), 32 + 12 + 32, info).derive(data_key)
    cipher, nonce = AESGCM(derived[:32]), int.from_bytes(derived[32:44], "big")
    chunks = (plain[start : start + 16384] for start in range(0, len(plain) + 1, 16384))  # the last is never full
    return salt + derived[44:] + b"".join(cipher.encrypt((nonce ^ i).to_bytes(12, "big"), chunk, None) for i, chunk in enumerate(chunks))


model, key_file, bundle = (Path(argument) for argument in sys.argv[1:])
signature, jwk = (model / "model.sig").read_bytes(), json.loads(key_file.read_text())
statement = b64decode(json.loads(signature)["dsseEnvelope"]["payload"], validate=True)
binding = f"fastify-model-guard/v1\nstatement:sha256:{sha256(statement).hexdigest()}"
data_key, content_key, iv = os.urandom(32), os.urandom(32), os.urandom(12)
header, wrapped = wrap(jwk, content_key)
protected, aad = encode(b'{"enc":"A256GCM"}'), encode(binding.encode())
sealed_key = AESGCM(content_key).encrypt(iv, data_key, f"{protected}.{aad}".encode())
recipient = {"header": header | {"kid": jwk["kid"]}, "encrypted_key": encode(wrapped)}
parts = {"iv": encode(iv), "ciphertext": encode(sealed_key[:-16]), "tag": encode(sealed_key[-16:])}
bundle.mkdir(parents=True)
for resource in json.loads(statement)["predicate"]["resources"]:
    plain, target = (model / resource["name"]).read_bytes(), bundle / f"{resource['name']}.sealed"
    if (resource["algorithm"], resource["digest"]) != ("sha256", sha256(plain).hexdigest()):
        sys.exit(f"refused: {resource['name']!r} is not the file that was signed for")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(seal(plain, data_key, f"{binding}\n{resource['name']}".encode()))
(bundle / "key.jwe.json").write_text(json.dumps({"protected": protected, "aad": aad, "recipients": [recipient], **parts}))
(bundle / "model.sig").write_bytes(signature)
