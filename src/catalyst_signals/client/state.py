"""Places kept in a file, so that a program that was killed goes on where it was.

Owns: the file, its lock, which stream has which place in it. Knows nothing of connections or of what was handled.
Law: the file always holds one whole, true set of places: a new one is written beside it and takes its name. One client
uses it at a time. A file that cannot be read is never taken for an empty one: from now on would be a silent loss.

    {"version": 1, "places": {"main": {"main": {"epoch": "5f0c...", "seq": 10412, "hash": "9f3a01c2", "at": 1795.2}}}}

by channel and by the stream's name; `at` is the Unix time at which it was written.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from catalyst_signals.errors import InvalidRequest, Misconfigured
from catalyst_signals.events import Position


class _Place(msgspec.Struct):
    epoch: str
    seq: int
    hash: str = ""
    at: float = 0.0


class _Content(msgspec.Struct):
    version: Literal[1] = 1
    places: dict[str, dict[str, _Place]] = {}


_decode = msgspec.json.Decoder(_Content).decode
_encode = msgspec.json.Encoder().encode


class StateFile:
    """The file of one client; `open` takes it, `close` gives it back."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        self._new = self.path.with_name(self.path.name + ".new")
        self._lock: int | None = None
        self._content = _Content()
        self._taken: set[tuple[str, str]] = set()

    def open(self) -> None:
        """Lock and read it; done already is fine.

        Raises:
            Misconfigured: another client has it, or it cannot be read; says what to do.
        """
        if self._lock is not None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.path.with_name(self.path.name + ".lock"), self.path)
            self._content = self._read()
        except OSError as fault:
            self._unlock()
            raise Misconfigured(f"the positions in {self.path} cannot be read: {fault}", field="state") from fault
        except BaseException:
            self._unlock()
            raise

    def _read(self) -> _Content:
        try:
            return _decode(self.path.read_bytes())
        except FileNotFoundError:
            return _Content()
        except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
            raise Misconfigured(
                f"{self.path} does not hold the positions that this client keeps in it ({fault}). Put a copy back, or "
                "move it away and say with `after` where to go on: without both, what was published since is missed",
                field="state",
            ) from fault

    def take(self, channel: str, name: str) -> Bookmark:
        """The place of that stream, which is the only one to move it until it is released.

        Raises:
            InvalidRequest: a live stream has it.
            Misconfigured: as `open`.
        """
        self.open()
        if (channel, name) in self._taken:
            text = f"a stream named `{name}` of channel `{channel}` is live already: give this one another `name`"
            raise InvalidRequest(text, field="name", got=name)
        self._taken.add((channel, name))
        return Bookmark(self, channel, name)

    def release(self, channel: str, name: str) -> None:
        """Another stream may take it."""
        self._taken.discard((channel, name))

    def get(self, channel: str, name: str) -> _Place | None:
        """What is kept of that stream."""
        return self._content.places.get(channel, {}).get(name)

    def put(self, channel: str, name: str, place: _Place) -> None:
        """The place is in the file when this returns, as far as a killed process goes.

        Raises:
            Misconfigured: it could not be written.
        """
        if self._lock is None:
            return  # Closed: the file may be another client's by now.
        self._content.places.setdefault(channel, {})[name] = place
        try:
            with open(self._new, "wb", buffering=0, opener=_private) as file:
                file.write(_encode(self._content))
            self._new.replace(self.path)
        except OSError as fault:
            raise Misconfigured(f"the position cannot be kept in {self.path}: {fault}", field="state") from fault

    def close(self) -> None:
        """Everything has reached the disk, as far as a power cut goes, and another client may have the file."""
        if self._lock is None:
            return
        try:
            with suppress(FileNotFoundError), self.path.open("rb") as file:
                os.fsync(file.fileno())
        finally:
            self._unlock()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


class Bookmark:
    """One stream's place in the file."""

    def __init__(self, file: StateFile, channel: str, name: str) -> None:
        self._file = file
        self._channel = channel
        self._name = name
        kept = file.get(channel, name)
        self.position = None if kept is None else Position(channel, kept.epoch, kept.seq, kept.hash)
        self.at_s = None if kept is None else kept.at  # Unix time.

    def move(self, position: Position) -> None:
        """It stands there now; nothing is written when it did already."""
        if position != self.position:
            place = _Place(position.epoch, position.seq, position.hash8, round(time.time(), 3))
            self._file.put(self._channel, self._name, place)
            self.position = position

    def release(self) -> None:
        """Done with; another stream may take it."""
        self._file.release(self._channel, self._name)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _locked(path: Path, state: Path) -> int:
    """A lock beside the file, not on it, as the file is replaced; a process that dies lets go of it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        os.close(lock)
        text = f"another client keeps its positions in {state}; end it first, or give this one a file of its own"
        raise Misconfigured(text, field="state", got=str(state)) from fault
    return lock
