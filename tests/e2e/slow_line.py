"""A line to a server that takes its time: what the server says comes later by `delay_s`."""

import socket
import threading
import time


class SlowLine:
    """A proxy on loopback. `delay_s` may be changed while it runs, for what is said from then on."""

    def __init__(self, port):
        self._port, self.delay_s = port, 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def address(self):
        return "127.0.0.1:%d" % self._listener.getsockname()[1]

    def stop(self):
        for sock in (self._listener, *self._sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port), 5)
            except OSError:
                return
            server.settimeout(None)
            self._sockets += [client, server]
            for pair in ((client, server, False), (server, client, True)):
                self._threads.append(threading.Thread(target=self._move, args=pair))
                self._threads[-1].start()

    def _move(self, source, target, late):
        """What comes together goes on together, so that nothing is late twice."""
        try:
            while data := source.recv(65536):
                if late:
                    time.sleep(self.delay_s)
                target.sendall(data)
        except OSError:
            pass
        for sock in (source, target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
