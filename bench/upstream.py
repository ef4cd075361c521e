"""The server behind every proxy: nginx in processes of its own, and the count of what it served."""

import re

from children import Child
from client import ask_once
from peers import CONNECTIONS_MAX, NEVER, nginx_preamble

_ITEMS = ",".join('{"n":%d,"s":"abcdefghijklmnop"}' % n for n in range(100, 130))
# The answer to a small call, as long as the call: a server that really echoed would be slower than any proxy.
GRPC_ANSWER = "x" * 133
ANSWER = '{"id":42,"items":[' + _ITEMS + "]}"  # 1 KiB of JSON
FILES = {"64k": 64 * 1024, "1m": 1024 * 1024}


class Upstream:
    def __init__(self, folder, port, status_port, grpc_port):
        folder.mkdir()
        www = folder / "www"
        www.mkdir()
        for name, size in FILES.items():
            (www / name).write_bytes(b"x" * size)
        self._status_port = status_port
        (folder / "nginx.conf").write_text(_config(folder, www, port, status_port, grpc_port))
        command = ["nginx", "-e", folder / "errors", "-c", folder / "nginx.conf"]
        self._child = Child("the upstream", command, folder / "log")
        try:
            self._child.wait_for(port)
        except BaseException:
            self.stop()
            raise

    def served(self):
        """Requests so far, without those of this question."""
        body = ask_once(self._status_port, path="/status")[2].decode()
        total = int(re.search(r"\n *\d+ +\d+ +(\d+)", body)[1])
        self._asked = getattr(self, "_asked", 0) + 1
        return total - self._asked

    def stop(self):
        self._child.stop()


def _config(folder, www, port, status_port, grpc_port):
    head, places = nginx_preamble(folder, CONNECTIONS_MAX)
    return f"""{head}
http {{
  {places}
  access_log off; keepalive_timeout 600s; keepalive_requests {NEVER}; default_type application/json;
  sendfile on; open_file_cache max=10; client_body_buffer_size 64k; client_max_body_size 4m;
  server {{
    listen 127.0.0.1:{grpc_port} http2 backlog=4096; default_type application/grpc;
    location / {{ add_trailer grpc-status 0; return 200 '{GRPC_ANSWER}'; }}
  }}
  server {{ listen 127.0.0.1:{status_port}; location = /status {{ stub_status; }} }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; root {www};
    location / {{ return 200 '{ANSWER}'; }}
    {" ".join(f"location = /{name} {{ }}" for name in FILES)}
  }}
}}
"""
