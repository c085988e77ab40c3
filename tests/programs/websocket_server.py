"""websockets: echoes; closes as it is asked to; remembers how others closed; turns strangers away."""

import asyncio
import http

from websockets.asyncio.server import serve

# How connections ended that had a name, by it.
ended = {}


async def echo(connection):
    path = connection.request.path
    if path.startswith("/ended/"):
        name = path.removeprefix("/ended/")
        while name not in ended:
            await asyncio.sleep(0.01)
        await connection.send(repr(ended[name]))
        return
    try:
        async for message in connection:
            if isinstance(message, str) and message.startswith("close "):
                _, code, reason = message.split(" ", 2)
                await connection.close(int(code), reason)
            elif message == "ping me":
                await (await connection.ping(b"from the server"))
                await connection.send("pong came")
            elif message == "in pieces":
                await connection.send(str(n) + "," for n in range(100))
            else:
                await connection.send(message)
    finally:
        ended[path.removeprefix("/echo/")] = (int(connection.close_code), connection.close_reason)


def admit(connection, request):
    if request.path == "/forbidden":
        return connection.respond(http.HTTPStatus.FORBIDDEN, "not you\n")
    return None


def choose(connection, offered):
    return "chat" if "chat" in offered else None


async def main():
    server = await serve(
        echo, None, 8082, process_request=admit, select_subprotocol=choose, max_size=None, ping_interval=None
    )
    await server.serve_forever()


asyncio.run(main())
