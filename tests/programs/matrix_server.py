"""What answers gRPC, WebSockets and lines of TCP in the matrix: everything says what it was told."""

import asyncio

import grpc
from websockets.asyncio.server import serve


class Echo(grpc.GenericRpcHandler):
    def service(self, call):
        return grpc.unary_unary_rpc_method_handler(answer)


async def answer(request, context):
    return request


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def line(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()


async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    for declared in (8000, 9000):
        server.add_insecure_port(f"[::]:{declared + 2}")
        await serve(echo, None, declared + 3, compression=None)
        await asyncio.start_server(line, None, declared + 4)
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())
