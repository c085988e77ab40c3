"""Text, binary, pings, messages of megabytes and in pieces, close codes both ways, and a refusal."""

import os
import socket
import struct

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

SITE = "ws://chat:8082"
PATIENCE = 30


def open_at(path, **options):
    return connect(SITE + path, open_timeout=PATIENCE, max_size=None, ping_interval=None, **options)


def closed(connection):
    """How the connection ends."""
    try:
        connection.recv(timeout=PATIENCE)
        return "it did not"
    except ConnectionClosed as end:
        return f"{end.rcvd.code} {end.rcvd.reason!r}" if end.rcvd else "without a word"


with open_at("/echo/plain") as connection:
    connection.send("grüße")
    print("text:", connection.recv(timeout=PATIENCE))
    connection.send(bytes(range(256)))
    print("binary:", connection.recv(timeout=PATIENCE) == bytes(range(256)))
    connection.send("")
    print("nothing:", repr(connection.recv(timeout=PATIENCE)))
    print("ping:", connection.ping(b"hello").wait(PATIENCE))
    connection.send("ping me")
    print("ping from the server:", connection.recv(timeout=PATIENCE))
    connection.send(part for part in ("in ", "pieces"))
    pieces = connection.recv(timeout=PATIENCE)
    print("in pieces:", len(pieces), pieces[-5:])
    for n in range(1000):
        connection.send(str(n))
    print("1,000 in a row:", [connection.recv(timeout=PATIENCE) for _ in range(1000)] == [str(n) for n in range(1000)])
    print("compression:", [type(e).__name__ for e in connection.protocol.extensions])

for compression in ("deflate", None):
    with open_at("/echo/large", compression=compression) as connection:
        large = os.urandom(1 << 22)
        connection.send(large)
        print("4 MiB, compression", compression, connection.recv(timeout=PATIENCE) == large)

with open_at("/echo/spoken", subprotocols=["loud", "chat"]) as connection:
    print("subprotocol:", connection.subprotocol)

with open_at("/echo/asked") as connection:
    connection.send("close 4001 as you wish")
    print("closed by the server:", closed(connection))

with open_at("/echo/left") as connection:
    connection.close(3000, "enough")
    print("closed by the client:", int(connection.close_code), connection.close_reason)


def ended(name):
    with open_at(f"/ended/{name}") as connection:
        return connection.recv(timeout=PATIENCE)


print("as the server saw it:", ended("left"))
with open_at("/echo/gone") as connection:
    # Without a word, and as a reset.
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.socket.close()
print("when the client is gone:", ended("gone"))
try:
    with open_at("/forbidden"):
        print("it should have been turned away")
except InvalidStatus as refusal:
    print("turned away:", refusal.response.status_code, bytes(refusal.response.body))
