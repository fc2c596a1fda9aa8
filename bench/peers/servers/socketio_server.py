"""python-socketio, its asynchronous server under ASGI: `emit` to everybody. POST /publish: one payload a line."""

import json

import socketio
from fastapi import FastAPI, Request, Response

sio = socketio.AsyncServer(async_mode="asgi", ping_interval=300, logger=False, engineio_logger=False)
api = FastAPI()
app = socketio.ASGIApp(sio, api)


@api.post("/publish")
async def publish(request: Request):
    for line in (await request.body()).decode().splitlines():
        await sio.emit("signal", json.loads(line))
    return Response()
