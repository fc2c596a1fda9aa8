"""What we touch of Uvicorn, by name: an upgrade that moves one of these fails here and not in the night."""

from __future__ import annotations

import inspect

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from catalyst_signals.server.protocol import HttpProtocol, SocketProtocol


def test_uvicorn_is_the_minor_version_that_was_read() -> None:
    """0.54 is pinned: below it a slow reader was unbounded memory, above it nobody looked."""
    assert uvicorn.__version__.startswith("0.54.")


def test_every_overridden_method_is_still_called_by_uvicorn() -> None:
    """An override of something that is gone would silently do nothing."""
    ours_alone = {"adopt", "took_frame", "took_text", "write", "ping", "hold_reading", "close", "refuse"}
    for ours, theirs in ((SocketProtocol, WebSocketsSansIOProtocol), (HttpProtocol, HttpToolsProtocol)):
        for name, member in vars(ours).items():
            if inspect.isfunction(member) and not name.startswith("_") and name not in ours_alone:
                assert hasattr(theirs, name), name
                assert list(inspect.signature(member).parameters) == list(
                    inspect.signature(getattr(theirs, name)).parameters
                ), name


def test_every_attribute_we_use_is_still_set_by_uvicorn() -> None:
    """Read in its source, so that no server is needed."""
    source = inspect.getsource(WebSocketsSansIOProtocol)
    for name in (
        "transport", "loop", "conn", "config", "queue", "scope", "request", "response", "app", "frames", "close_sent",
        "close_timer", "curr_msg_data_type", "logger", "writable",
    ):  # fmt: skip
        assert f"self.{name}" in source, name
    http = inspect.getsource(HttpToolsProtocol)
    assert "self.loop" in http and "self.transport" in http
    assert "self.should_exit" in inspect.getsource(uvicorn.Server) and "self.servers" in inspect.getsource(
        uvicorn.Server
    )
