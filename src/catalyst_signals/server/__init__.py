"""The server: the only part that knows HTTP. `app.py` wires everything; nothing else builds anything."""
