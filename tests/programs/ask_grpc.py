"""Calls of all four kinds, deadlines, cancellation, metadata, errors, and many small messages."""

import hashlib
import threading

import grpc

channel = grpc.insecure_channel("api:8083", options=[("grpc.max_receive_message_length", -1)])
PATIENCE = 30


def unary(method):
    return channel.unary_unary(f"/api/{method}")


def pairs(metadata):
    return sorted((key, value) for key, value in metadata if key.startswith("x-") or key.endswith("-bin"))


def code(call):
    """The status that a call ends with."""
    try:
        call()
        return "OK"
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"


print("unary:", unary("upper")(b"hello", timeout=PATIENCE))
print("empty:", unary("upper")(b"", timeout=PATIENCE))
numbers = list(channel.unary_stream("/api/count")(b"1000", timeout=PATIENCE))
print("server streaming:", len(numbers), numbers[-1])
print("server streaming, nothing:", list(channel.unary_stream("/api/count")(b"0", timeout=PATIENCE)))
print("client streaming:", channel.stream_unary("/api/join")(iter([b"a", b"b", b"c"]), timeout=PATIENCE))
print("both streaming:", list(channel.stream_stream("/api/echo")(iter([b"x", b"y"]), timeout=PATIENCE)))

many = [b"%d" % n for n in range(10_000)]
print("10,000 messages on one stream:", list(channel.stream_stream("/api/echo")(iter(many), timeout=60)) == many)


def in_turn():
    """Asks only when answered: nothing may be held back for more to come."""
    answered = threading.Semaphore(0)

    def questions():
        for n in range(200):
            yield b"%d" % n
            answered.acquire(timeout=PATIENCE)

    for answer in channel.stream_stream("/api/echo")(questions(), timeout=PATIENCE):
        answered.release()
        yield answer


print("200 in turn:", sum(1 for _ in in_turn()))
large = hashlib.sha256(b"seed").digest() * 100_000
print("3.2 MB there and back:", list(channel.stream_stream("/api/echo")(iter([large]), timeout=PATIENCE)) == [large])
print("compressed:", unary("upper")(b"a" * 10_000, timeout=PATIENCE, compression=grpc.Compression.Gzip) == b"A" * 10_000)
futures = [unary("upper").future(b"call %d" % n, timeout=PATIENCE) for n in range(200)]
print("200 at once:", sorted({call.result()[:4] for call in futures}), len(futures))

answer, call = unary("metadata").with_call(
    b"", timeout=PATIENCE, metadata=(("x-plain", "a, b"), ("x-plain", "c"), ("x-raw-bin", b"\x00\xff\n"))
)
print("metadata there:", answer)
print("metadata back:", pairs(call.initial_metadata()), pairs(call.trailing_metadata()))
try:
    unary("fail")(b"", timeout=PATIENCE)
except grpc.RpcError as error:
    print("an error:", error.code().name, error.details(), pairs(error.trailing_metadata()))
print("no such method:", code(lambda: unary("nothing")(b"", timeout=PATIENCE)))
print("an answer before the last question:", end=" ")
print(channel.stream_unary("/api/impatient")((b"%d" % n for n in range(100_000)), timeout=PATIENCE))

print("a deadline reaches the server:", unary("time-left")(b"", timeout=9))
print("none reaches it as none:", unary("time-left")(b""))
print("a deadline that passes:", code(lambda: unary("hang")(b"", timeout=1, metadata=(("x-name", "late"),))))
print("the server sees it:", unary("what-became")(b"late", timeout=PATIENCE))

cancelled = unary("hang").future(b"", metadata=(("x-name", "unwanted"),), timeout=PATIENCE)
print("it is under way:", unary("what-became")(b"the beginning of unwanted", timeout=PATIENCE))
cancelled.cancel()
print("a call that is cancelled:", code(cancelled.result) if not cancelled.cancelled() else "cancelled")
print("the server sees it:", unary("what-became")(b"unwanted", timeout=PATIENCE))
stream = channel.unary_stream("/api/trickle")(b"", metadata=(("x-name", "enough"),), timeout=PATIENCE)
print("a stream's first messages:", [next(stream) for _ in range(3)])
stream.cancel()
print("the server sees its end:", unary("what-became")(b"enough", timeout=PATIENCE))
channel.close()

with grpc.insecure_channel("api:8084") as channel:
    slow = channel.unary_stream("/api/trickle")(b"", timeout=PATIENCE)
    answers = [channel.unary_unary("/api/upper")(b"%d" % n, timeout=PATIENCE) for n in range(500)]
    print("500 calls of a server that ends its connections:", answers == [b"%d" % n for n in range(500)])
    print("and a stream that outlives its own:", [next(slow) for _ in range(100)][-1])
    slow.cancel()
