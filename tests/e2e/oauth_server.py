"""oidc-provider, a certified authorisation server, as a process (tests/node)."""

import base64
import json
import os
import shutil
import ssl
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

NODE = Path(__file__).parents[1] / "node"
CLIENT, GATEWAY = ("app", "app-secret"), ("gateway", "gateway-secret")


def missing():
    """Why it cannot run; None when it can."""
    if shutil.which("node") is None or not (NODE / "node_modules" / "oidc-provider").is_dir():
        return "node and its packages are not installed: scripts/setup.sh test"
    return None


class OAuthServer:
    def __init__(self, pki, folder):
        cert, key = pki.issue("localhost", file="oidc-provider")
        self._log = open(folder / "oidc-provider.log", "wb")
        self.process = subprocess.Popen(
            ["node", str(NODE / "provider.mjs"), cert, key], cwd=NODE, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._log, env={**os.environ, "NODE_ENV": "test"},
        )  # fmt: skip
        self.told = json.loads(self.process.stdout.readline())
        self.url = f"https://localhost:{self.told['port']}"
        self._tls = ssl.create_default_context(cafile=str(pki.ca))

    def _post(self, path, form, fields=()):
        pair = base64.b64encode(":".join(CLIENT).encode()).decode()
        asked = urllib.request.Request(
            self.url + path, data=urllib.parse.urlencode(form).encode(),
            headers={"Authorization": f"Basic {pair}", **dict(fields)},
        )  # fmt: skip
        with urllib.request.urlopen(asked, context=self._tls, timeout=30) as answer:
            return answer.read()

    def token(self, kind, scope="orders.read", fields=()):
        """An access token: `kind` is es256, rs256 or opaque."""
        form = {"grant_type": "client_credentials", "resource": f"urn:{kind}", "scope": scope}
        return json.loads(self._post("/token", form, fields))["access_token"]

    def revoke(self, token):
        self._post("/token/revocation", {"token": token})

    def hostile(self, elsewhere):
        """A good token and the bad ones, by what they are, that jose makes with the server's keys; some say
        that their keys are at the URL `elsewhere`."""
        asked = {"issuer": self.url, "audience": "orders-api", "keys": self.told["keys"], "elsewhere": elsewhere}
        done = subprocess.run(
            ["node", str(NODE / "hostile.mjs")], input=json.dumps(asked).encode(), cwd=NODE,
            capture_output=True, check=True, timeout=60,
        )  # fmt: skip
        made = json.loads(done.stdout)
        return made["good"], made["tokens"]

    def stop(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()
        self._log.close()
