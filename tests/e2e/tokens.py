"""Tokens and keys for tests: made with the openssl program, so that nothing of the project signs
what it verifies."""

import base64
import json
import subprocess
import time

ISSUER = "https://id.example.com/"
AUDIENCE = "orders-api"


def b64(data):
    data = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(**changes):
    """The claims of a good token; a change to None leaves one out."""
    now = int(time.time())
    good = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 300, "iat": now, "sub": "user-1",
            "client_id": "app-1", "jti": "token-1", "scope": "orders.read"}  # fmt: skip
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


class Key:
    """A signing key of an issuer: RS256 or ES256."""

    def __init__(self, folder, kid, algorithm="ES256"):
        self.kid, self.algorithm = kid, algorithm
        self._file = folder / f"{kid}-{algorithm}.key"
        kind = ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        if algorithm == "ES256":
            kind = ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        self._openssl("genpkey", "-algorithm", *kind, "-out", str(self._file))

    def token(self, payload=None, *, head=None):
        """A signed token. `payload` and `head` are texts or what becomes JSON."""
        payload = claims() if payload is None else payload
        head = {"alg": self.algorithm, "kid": self.kid} if head is None else head
        parts = [part if isinstance(part, str) else json.dumps(part) for part in (head, payload)]
        text = ".".join(b64(part) for part in parts)
        return f"{text}.{b64(self.sign(text.encode()))}"

    def sign(self, data):
        made = self._openssl("dgst", "-sha256", "-sign", str(self._file), stdin=data)
        return made if self.algorithm == "RS256" else raw_signature(made)

    def jwk(self):
        if self.algorithm == "RS256":
            text = self._openssl("rsa", "-in", str(self._file), "-noout", "-modulus").decode()
            modulus = bytes.fromhex(text.strip().split("=")[1])
            return {"kty": "RSA", "kid": self.kid, "n": b64(modulus), "e": "AQAB"}
        point = self._openssl("pkey", "-in", str(self._file), "-pubout", "-outform", "DER")[-64:]
        return {"kty": "EC", "kid": self.kid, "crv": "P-256",
                "x": b64(point[:32]), "y": b64(point[32:])}  # fmt: skip

    @staticmethod
    def _openssl(*arguments, stdin=None):
        done = subprocess.run(
            ["openssl", *arguments], input=stdin, check=True, capture_output=True, timeout=60
        )
        return done.stdout


def raw_signature(der):
    """An ECDSA signature as JOSE writes it: both numbers with 32 bytes each."""
    numbers, at = [], 2
    for _ in range(2):
        size = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2 : at + 2 + size], "big").to_bytes(32, "big"))
        at += 2 + size
    return b"".join(numbers)


def jwks(*keys):
    return json.dumps({"keys": [key.jwk() for key in keys]})
