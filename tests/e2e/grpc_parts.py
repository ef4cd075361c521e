"""gRPC as its users speak it: a server of grpcio with generic handlers, and raw calls over `http2`."""

import struct
import threading
from concurrent import futures

import grpc
from http2 import DATA, END_STREAM, Http2Client, frame

SERVICE = "suites.v1.Echo"


def message(data, compressed=0):
    return struct.pack(">BI", compressed, len(data)) + data


def messages(body):
    found = []
    while body:
        size = struct.unpack(">I", body[1:5])[0]
        found.append(body[5 : 5 + size])
        body = body[5 + size :]
    return found


class EchoServer:
    """`suites.v1.Echo` on loopback: Unary, ServerStream, ClientStream, Bidi, Fail and Hang."""

    def __init__(self, credentials=None):
        self.server = grpc.server(futures.ThreadPoolExecutor(32))
        self.metadata, self.remaining = [], []  # of each call
        self.cancelled = threading.Event()
        self.begun = threading.Event()
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
            "Bidi": grpc.stream_stream_rpc_method_handler(self.bidi),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Hang": grpc.unary_stream_rpc_method_handler(self.hang),
        }
        handler = grpc.method_handlers_generic_handler(SERVICE, kinds)
        self.server.add_generic_rpc_handlers((handler,))
        if credentials is None:
            port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            port = self.server.add_secure_port("127.0.0.1:0", credentials)
        self.address = f"127.0.0.1:{port}"
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop(None).wait()

    def note(self, context):
        self.metadata.append(list(context.invocation_metadata()))
        self.remaining.append(context.time_remaining())

    def unary(self, request, context):
        self.note(context)
        sent_back = [(k, v) for k, v in context.invocation_metadata() if k.startswith("x-")]
        context.send_initial_metadata(sent_back)
        context.set_trailing_metadata([(f"{k.removesuffix('-bin')}-t{'-bin' * k.endswith('-bin')}", v)
                                       for k, v in sent_back])  # fmt: skip
        return request

    def server_stream(self, request, context):
        self.note(context)
        for n in range(int(request)):
            yield b"%d" % n

    def client_stream(self, requests, context):
        self.note(context)
        return b"".join(requests)

    def bidi(self, requests, context):
        self.note(context)
        for request in requests:
            yield request

    def fail(self, request, context):
        context.set_trailing_metadata([("x-detail-bin", b"\0\xff")])
        context.abort(grpc.StatusCode.ABORTED, request.decode())

    def hang(self, request, context):
        gone = threading.Event()
        context.add_callback(lambda: (self.cancelled.set(), gone.set()))
        self.begun.set()
        if request == b"begin":
            yield b"begun"
        gone.wait(30)


def stub(channel, name, kind="unary_unary", service=SERVICE):
    return getattr(channel, kind)(f"/{service}/{name}")


class RawCalls(Http2Client):
    """Calls of gRPC frame by frame, so that what comes back can be looked at."""

    def call(self, path=f"/{SERVICE}/Unary", more=(), body=message(b"hi"), end=True,
             content_type="application/grpc", method="POST"):  # fmt: skip
        fields = [("content-type", content_type), ("te", "trailers"), *more]
        return self.open(method, path, fields, body=body, end=end)

    def say(self, stream, data, end=False):
        self.send(frame(DATA, END_STREAM if end else 0, stream, data))


def outcome(stream):
    """(grpc-status, grpc-message) of a stream, from its trailers or a trailers-only head."""
    fields = stream.trailers or stream.fields
    return fields.get("grpc-status"), fields.get("grpc-message")
