"""A throw-away SQLite log on the disk where the real one is, or would be: in a folder of its own beside it.

Owns: where it is, and that it goes. Law: the file of the URL is not opened.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote

from catalyst_signals.errors import Misconfigured
from catalyst_signals.urls import split


class SqliteScratch:
    """Stores.Scratch"""

    def __init__(self, beside: Path) -> None:
        self._beside = beside
        self._folder = beside
        self.url = ""

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Beside the file of a `sqlite:///FILE`."""
        parts, _ = split(url)
        path = unquote(parts.path.removeprefix("/"))
        if not path or parts.netloc:
            raise Misconfigured("a SQLite store is `sqlite:///FILE`", field="store_url", got=url)
        return cls(Path(path).absolute().parent)

    async def __aenter__(self) -> Self:
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=".catalyst-scratch-", dir=self._beside))
        except OSError as error:
            raise Misconfigured(
                f"no folder can be made in {self._beside}: {error.strerror}", field="store_url", got=str(self._beside)
            ) from error
        self.url = f"sqlite:///{quote(str(self._file))}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.url:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _file(self) -> Path:
        return self._folder / "catalyst.db"

    async def size_bytes(self) -> int:
        """Scratch.size_bytes"""
        return await asyncio.to_thread(lambda: self._file.stat().st_size)
