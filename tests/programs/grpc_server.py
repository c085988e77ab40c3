"""gRPC's Python: calls of all four kinds, and a memory of what became of calls that had a name."""

import threading
import time
from concurrent import futures

import grpc

FOREVER = 60
# What became of calls, by the name in their metadata.
fates = {}
changed = threading.Condition()


def fate(context, what, of=""):
    name = of + dict(context.invocation_metadata()).get("x-name", "")
    with changed:
        fates.setdefault(name, what)
        changed.notify_all()


def upper(request, context):
    return request.upper()


def count(request, context):
    for n in range(int(request)):
        yield b"%d" % n


def join(requests, context):
    return b"".join(requests)


def echo(requests, context):
    yield from requests


def fail(request, context):
    """An error with details, as google.rpc.Status would be sent, and a trailer of its own."""
    context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x09\x00\xff"), ("x-why", "closed on Saturdays")))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: 50% of é")


def metadata(request, context):
    told = sorted((key, value) for key, value in context.invocation_metadata() if key in ("x-plain", "x-raw-bin"))
    context.send_initial_metadata((("x-first", "head"), ("x-first-bin", b"\x00\x01\xfe")))
    context.set_trailing_metadata((("x-last", "tail"), ("x-last-bin", b"\xff\x00")))
    return repr(told).encode()


def time_left(request, context):
    left = context.time_remaining()
    return b"no deadline" if left is None else b"within %d s" % (10 if left <= 10 else 1000)


def hang(request, context):
    """Answers when nobody wants it any more."""
    over = threading.Event()
    context.add_callback(over.set)
    fate(context, "here", "the beginning of ")
    fate(context, "ended") if over.wait(FOREVER) else fate(context, "forgotten")
    return b""


def trickle(request, context):
    """One message after the other until nobody wants more."""
    # Whoever wants no more does not come back here.
    context.add_callback(lambda: fate(context, "ended"))
    for n in range(100 * FOREVER):
        yield b"%d" % n
        time.sleep(0.01)


def what_became(request, context):
    name = request.decode()
    with changed:
        changed.wait_for(lambda: name in fates, 10)
        return fates.get(name, "still running").encode()


def impatient(requests, context):
    """Has its answer after the first of many messages."""
    return b"enough after " + next(requests)


CALLS = {
    "/api/upper": grpc.unary_unary_rpc_method_handler(upper),
    "/api/count": grpc.unary_stream_rpc_method_handler(count),
    "/api/join": grpc.stream_unary_rpc_method_handler(join),
    "/api/echo": grpc.stream_stream_rpc_method_handler(echo),
    "/api/fail": grpc.unary_unary_rpc_method_handler(fail),
    "/api/metadata": grpc.unary_unary_rpc_method_handler(metadata),
    "/api/time-left": grpc.unary_unary_rpc_method_handler(time_left),
    "/api/hang": grpc.unary_unary_rpc_method_handler(hang),
    "/api/trickle": grpc.unary_stream_rpc_method_handler(trickle),
    "/api/what-became": grpc.unary_unary_rpc_method_handler(what_became),
    "/api/impatient": grpc.stream_unary_rpc_method_handler(impatient),
}


class Api(grpc.GenericRpcHandler):
    def service(self, call):
        return CALLS.get(call.method)


def serve(port, *options):
    server = grpc.server(futures.ThreadPoolExecutor(16), options=options)
    server.add_generic_rpc_handlers((Api(),))
    server.add_insecure_port(f"[::]:{port}")
    server.start()
    return server


# One whose connections grow old: it sends GOAWAY after a moment and lets calls finish.
aging = serve(8084, ("grpc.max_connection_age_ms", 200), ("grpc.max_connection_age_grace_ms", 30_000))
serve(8083).wait_for_termination()
