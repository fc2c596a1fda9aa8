"""Memcached: one server. After `child.kill()` and `child.start()` it is there and empty."""

from __future__ import annotations

import socket

from tests.services.child import Child, Folder, Service, free_ports, program


class Memcached(Service):
    """`with Memcached() as server:` has `url` for `cache_url`."""

    stops_within_s = 0  # It takes a second to stop otherwise, and has nothing to lose.

    def __init__(self) -> None:
        self.folder = Folder("memcached", "nobody")
        (self.port,) = free_ports(1)
        command = [program("memcached"), "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "64"]
        self.child = Child(command, self.folder, self._answers)

    @property
    def url(self) -> str:
        """For `cache_url`."""
        return f"memcached://127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 1) as peer:
            peer.sendall(b"version\r\n")
            return peer.recv(64).startswith(b"VERSION")
