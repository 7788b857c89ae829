"""Upload a file that is signed (RFC 9421, RFC 9530): python -m pip install http-message-signatures

    python signed_upload.py URL FILE KEY.pem KEYID

KEY.pem is an Ed25519 private key. The file is digested first and then sent as a stream, so it may be larger than memory.
"""
import hashlib
import secrets
import sys
from base64 import b64encode
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms


class OneKey(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return load_pem_private_key(Path(sys.argv[3]).read_bytes(), None)


url, file, key_id = sys.argv[1], Path(sys.argv[2]), sys.argv[4]
with file.open("rb") as content:
    digest = hashlib.file_digest(content, "sha256").digest()
headers = {
    "content-type": "application/octet-stream",
    "content-length": str(file.stat().st_size),
    "content-digest": f"sha-256=:{b64encode(digest).decode()}:",
}
now = datetime.now()
HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=OneKey()).sign(
    SimpleNamespace(method="POST", url=url, headers=headers),
    key_id=key_id,
    covered_component_ids=("@method", "@target-uri", *headers),
    created=now,
    expires=now + timedelta(minutes=5),
    nonce=secrets.token_urlsafe(18),
    tag="model-upload",
    use_existing_digest=True,
)
with file.open("rb") as content:
    try:
        print(urlopen(Request(url, data=content, headers=headers, method="POST")).read().decode())
    except HTTPError as refusal:
        sys.exit(f"refused: {refusal.read().decode()}")
