"""Verifies a signed request, told as JSON: method, url, headers, the body in base64, and the public key in PEM."""
import json
import sys
from base64 import b64decode
from datetime import timedelta
from types import SimpleNamespace

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms

told = json.loads(sys.argv[1])
ALGORITHMS = {"ed25519": algorithms.ED25519, "ecdsa-p256-sha256": algorithms.ECDSA_P256_SHA256, "rsa-pss-sha512": algorithms.RSA_PSS_SHA512}


class OneKey(HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id):
        return load_pem_public_key(told["key"].encode())


message = SimpleNamespace(method=told["method"], url=told["url"], headers=told["headers"])
verifier = HTTPMessageVerifier(signature_algorithm=ALGORITHMS[told["algorithm"]], key_resolver=OneKey())
[result] = verifier.verify(message, max_age=timedelta(minutes=5), expect_tag="model-upload", body=b64decode(told["body"]))
print(json.dumps({"components": list(result.covered_components), "nonce": result.parameters["nonce"]}))
