"""Asks what it is told to, a line of JSON for each question and a line for each answer. Every question
is a connection of its own, and carries a word that can be looked for on the wire."""

import json
import socket
import subprocess
import sys

import grpc
from websockets.sync.client import connect

PATIENCE = 15


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", "-g", "--max-time", str(PATIENCE), *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(done.stderr.strip())
    return done.stdout.removeprefix("/")


def http(version):
    return lambda at, port, word: curl(version, f"http://{at}:{port}/{word}")


def rpc(at, port, word):
    with grpc.insecure_channel(f"{at}:{port}") as channel:
        return channel.unary_unary("/cell/say")(word.encode(), timeout=PATIENCE).decode()


def websocket(at, port, word):
    with connect(f"ws://{at}:{port}/", open_timeout=PATIENCE, compression=None, proxy=None) as connection:
        connection.send(word)
        return connection.recv(timeout=PATIENCE)


def tcp(at, port, word):
    with socket.create_connection((at.strip("[]"), port), PATIENCE) as connection:
        connection.sendall(word.encode() + b"\n")
        answer = connection.makefile(errors="replace").readline()
    # Where TLS is wanted, what comes is an alert of it.
    if not answer.endswith("\n"):
        raise OSError(f"the connection was closed after {answer!r}")
    return answer.strip()


def tls(at, port, word):
    # The name is what can be read on the wire.
    return curl("-k", "--resolve", f"{word}.test:{port}:{at}", f"https://{word}.test:{port}/{word}")


ASK = {
    "HTTP/1.0": http("-0"),
    "HTTP/1.1": http("--http1.1"),
    "HTTP/2": http("--http2-prior-knowledge"),
    "gRPC": rpc,
    "WebSocket": websocket,
    "TCP": tcp,
    "app's TLS": tls,
}

for question in sys.stdin:
    question = json.loads(question)
    address = question["address"]
    at = f"[{address}]" if ":" in address else address
    try:
        said = {"answer": ASK[question["protocol"]](at, question["port"], question["word"])}
    except Exception as error:  # whatever it is, it is the answer
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said), flush=True)
