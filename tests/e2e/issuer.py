"""An authorisation server for tests that can be down, slow and lying: metadata, keys, introspection."""

import base64
import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote_plus

METADATA = "/.well-known/openid-configuration"


class Issuer:
    """Serves on loopback over TLS. What it says can be changed at any time.

    `keys` are the tokens.Key that its set has; `tokens` maps opaque tokens to what introspection says.
    `answers` maps a path to `(status, body, fields)` in place of what would be said. `delay_s` holds every
    answer back. `asked` lists the paths in the order in which they were asked for.
    """

    def __init__(self, pki, *, host="localhost", port=0, name=None):
        self.keys, self.tokens, self.answers, self.asked = [], {}, {}, []
        self.delay_s, self.max_age = 0.0, 300
        self.metadata = {}
        self.client = ("gateway", "s3cret/+ with space")
        self._pki, self._host, self._name = pki, name or host, host
        self._server, self._open = None, set()
        self.port = port
        self.start()

    def start(self):
        issuer = self
        handler = type("Handler", (_Handler,), {"issuer": self})
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._pki.issue(self._host, file=f"issuer-{self._host}"))

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def finish_request(self, request, address):
                # In the thread of the connection: one that says nothing holds up nobody.
                request.settimeout(30)
                secured = context.wrap_socket(request, server_side=True)
                issuer._open.add(secured)
                try:
                    super().finish_request(secured, address)
                finally:
                    issuer._open.discard(secured)

            def handle_error(self, request, address):
                pass  # clients that go away are what the tests are about

        self._server = Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self):
        """Down: nothing listens any more. `start` brings it back on the same port."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for sock in list(self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # gone already
                pass
        self._server = None

    @property
    def url(self):
        return f"https://{self._name}:{self.port}"

    def count(self, path):
        return self.asked.count(path)

    def say(self, path, body):
        """`(status, body, fields)`."""
        if path in self.answers:
            return self.answers[path]
        fields = {"Cache-Control": f"max-age={self.max_age}"}
        if path == METADATA:
            said = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks", **self.metadata}
            return 200, json.dumps(said), fields
        if path == "/jwks":
            return 200, json.dumps({"keys": [key.jwk() for key in self.keys]}), fields
        if path == "/introspect" and body is not None:
            return self._introspect(body)
        return 404, "{}", {}

    def _introspect(self, body):
        token = parse_qs(body)["token"][0]
        return 200, json.dumps(self.tokens.get(token, {"active": False})), {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(None)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        pair = base64.b64decode(given).decode().split(":")
        if kind != "Basic" or tuple(unquote_plus(part) for part in pair) != self.issuer.client:
            body = None
            self.path = "/unauthorised"
        self._answer(body)

    def _answer(self, body):
        self.issuer.asked.append(self.path)
        if self.issuer.delay_s:
            time.sleep(self.issuer.delay_s)
        status, text, fields = self.issuer.say(self.path, body)
        text = text.encode() if isinstance(text, str) else text
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass
