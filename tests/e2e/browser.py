"""Chromium as a test wants it: it opens a page, and the page tells what it could do."""

import http.server
import json
import shutil
import subprocess
import threading

CHROMIUM = shutil.which("chromium")


class Pages(http.server.ThreadingHTTPServer):
    """A site with one page, `page`, which posts what happened to /result. A context manager."""

    daemon_threads = True

    def __init__(self, page=""):
        super().__init__(("127.0.0.1", 0), PageHandler)
        self.page = page
        self.result = None
        self.told = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def origin(self):
        return "http://127.0.0.1:%d" % self.server_address[1]

    def visit(self, folder, *options):
        """What the page told, in a browser of its own that keeps its profile in `folder`."""
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--no-first-run", "--disable-background-networking", f"--user-data-dir={folder}",
                   "--remote-debugging-port=0", *options, self.origin + "/"]  # fmt: skip
        browser = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            assert self.told.wait(120), "the page told nothing"
        finally:
            browser.terminate()
            try:
                browser.wait(20)
            except subprocess.TimeoutExpired:
                browser.kill()
                browser.wait()
        return self.result


class PageHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path == "/"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.server.page.encode() if found else b"")

    def do_POST(self):
        self.server.result = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.told.set()

    def log_message(self, *_):
        pass
