"""Access tokens for the load: an issuer's key, and a thousand tokens that it signed (ES256)."""

import base64
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ISSUER, AUDIENCE = "https://id.example.com/", "bench"
PATH = "/token"  # where proxies ask for one
COUNT = 1000
LIFETIME_S = 12 * 3600

# Every request another token, the same ones in the same order for each proxy and each path.
SCRIPT = """local tokens = {}
for line in io.lines("%s") do tokens[#tokens + 1] = "Bearer " .. line end
local next = 0
request = function()
  next = next %% #tokens + 1
  return wrk.format(nil, nil, { ["Authorization"] = tokens[next] })
end
"""


@dataclass(frozen=True)
class Issuer:
    """`public` is its key as PEM, `jwks` as a JWK Set; both files."""

    key: Path
    public: Path
    jwks: Path


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*arguments, stdin=None):
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, check=True, capture_output=True).stdout


def make_issuer(folder):
    issuer = Issuer(folder / "issuer.key", folder / "issuer.pem", folder / "issuer.json")
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", issuer.key)
    _openssl("pkey", "-in", issuer.key, "-pubout", "-out", issuer.public)
    point = _openssl("pkey", "-in", issuer.key, "-pubout", "-outform", "DER")[-64:]
    jwk = {"kty": "EC", "crv": "P-256", "kid": "k", "x": b64(point[:32]), "y": b64(point[32:])}
    issuer.jwks.write_text(json.dumps({"keys": [jwk]}))
    return issuer


def _jose_signature(der):
    """Both numbers of an ECDSA signature with 32 bytes each (RFC 7518 §3.4)."""
    numbers, at = b"", 2
    for _ in range(2):
        size = der[at + 1]
        numbers += int.from_bytes(der[at + 2 : at + 2 + size], "big").to_bytes(32, "big")
        at += 2 + size
    return numbers


def write_tokens(issuer, file):
    """One token a line."""
    now, head = int(time.time()), b64(json.dumps({"alg": "ES256", "kid": "k", "typ": "at+jwt"}).encode())
    with open(file, "w") as out:
        for number in range(COUNT):
            claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": f"user-{number}", "client_id": "bench",
                      "jti": str(number), "iat": now, "exp": now + LIFETIME_S, "scope": "read"}  # fmt: skip
            text = f"{head}.{b64(json.dumps(claims).encode())}"
            signature = _openssl("dgst", "-sha256", "-sign", issuer.key, stdin=text.encode())
            out.write(f"{text}.{b64(_jose_signature(signature))}\n")
