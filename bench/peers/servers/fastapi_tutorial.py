"""The broadcast loop of FastAPI's own tutorial; MODE=text sends with send_text, MODE=json with send_json.

POST /publish: one payload a line.
"""

import json
import os

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect

app = FastAPI()


class ConnectionManager:
    def __init__(self):
        self.active_connections: list[WebSocket] = []

    async def connect(self, websocket: WebSocket):
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket: WebSocket):
        self.active_connections.remove(websocket)

    async def broadcast(self, message: str):
        for connection in list(self.active_connections):
            await connection.send_text(message)

    async def broadcast_json(self, message: str):
        content = json.loads(message)
        for connection in list(self.active_connections):
            await connection.send_json(content)


manager = ConnectionManager()
broadcast = manager.broadcast_json if os.environ.get("MODE") == "json" else manager.broadcast


@app.websocket("/ws")
async def listen(websocket: WebSocket):
    await manager.connect(websocket)
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        manager.disconnect(websocket)


@app.post("/publish")
async def publish(request: Request):
    for line in (await request.body()).decode().splitlines():
        await broadcast(line)
    return Response()
