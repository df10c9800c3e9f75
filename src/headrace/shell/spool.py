"""Accounting records on disk until a server has them: in order, bounded, each once.

A SQLite file: what was written before a crash is there after it. When it is full, interim records are not kept, and for the start or end
of a session the oldest record goes.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from headrace.errors import HeadraceError
from headrace.radius.packet import Packet
from headrace.wire import Malformed

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.radius.packet import Attribute


class SpoolError(HeadraceError):
    """The spool cannot be used."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A record that waits."""

    number: int
    moment: float
    """When it happened, in seconds since 1970."""
    attributes: tuple[Attribute, ...] = field(repr=False)


class Spool:
    """The records of one gateway. ``capacity`` is how many it holds."""

    def __init__(self, path: Path, capacity: int) -> None:
        self.lost = 0
        """Records that had no room."""
        self._capacity = capacity
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS records (number INTEGER PRIMARY KEY AUTOINCREMENT, moment REAL, packet BLOB)"
            )
            self._count = int(self._db.execute("SELECT count(*) FROM records").fetchone()[0])
        except (OSError, sqlite3.Error) as error:
            raise SpoolError(
                f"cannot spool accounting in {path}: {error}; set radius.spool to a file that can be written"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Close the file; what is in it stays."""
        self._db.close()

    def add(self, moment: float, attributes: tuple[Attribute, ...], *, needed: bool = True) -> None:
        """Append a record. One that is not ``needed`` is left out when there is no room."""
        if self._count >= self._capacity:
            self.lost += 1
            if not needed:
                return
            self._db.execute("DELETE FROM records WHERE number = (SELECT min(number) FROM records)")
            self._count -= 1
        data = Packet(0, 0, bytes(16), attributes).emit()
        self._db.execute("INSERT INTO records (moment, packet) VALUES (?, ?)", (moment, data))
        self._count += 1

    def oldest(self) -> Spooled | None:
        """The record to deliver next. One that cannot be read any more is thrown away."""
        while True:
            row = self._db.execute("SELECT number, moment, packet FROM records ORDER BY number LIMIT 1").fetchone()
            if row is None:
                return None
            try:
                return Spooled(row[0], row[1], Packet.parse(row[2]).attributes)
            except Malformed:
                self.lost += 1
                self.done(row[0])

    def done(self, number: int) -> None:
        """A record was delivered. Harmless for one that had to go meanwhile."""
        self._count -= self._db.execute("DELETE FROM records WHERE number = ?", (number,)).rowcount
