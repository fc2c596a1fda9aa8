"""The server of the `websockets` package and its `broadcast`; a publisher connects to /pub, a message is a payload."""

import sys

import uvloop
from websockets.asyncio.server import broadcast, serve

listeners = set()


async def handle(socket):
    if socket.request.path == "/pub":
        async for message in socket:
            broadcast(listeners, message)
        return
    listeners.add(socket)
    try:
        await socket.wait_closed()
    finally:
        listeners.discard(socket)


async def main():
    options = {"compression": None, "backlog": 4096, "ping_interval": None, "max_size": 2**24}
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), **options) as server:
        await server.serve_forever()


uvloop.run(main())
