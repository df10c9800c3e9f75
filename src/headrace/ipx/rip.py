"""RIP for IPX on the wire: which networks there are, how many routers (hops) and 1/18 seconds (ticks) away.

::

    +-------------------------------+-------------------------------+
    | Operation: 1 asks, 2 tells    | Network (ffffffff: all)
    +-------------------------------+-------------------------------+
           network                  | Hops                          |   at most 50 of these
    +-------------------------------+-------------------------------+
    | Ticks                         |
    +-------------------------------+
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace.wire import Reader, Writer

REQUEST: Final = 1
RESPONSE: Final = 2
ALL: Final = 0xFFFFFFFF
ENTRIES_MAX: Final = 50
UNREACHABLE: Final = 16
"""Hops."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One network."""

    network: int
    hops: int = UNREACHABLE
    ticks: int = 0xFFFF


@dataclass(frozen=True, slots=True)
class Message:
    """A request or response."""

    operation: int
    entries: tuple[Entry, ...]

    @classmethod
    def parse(cls, payload: bytes) -> Message:
        """Read a message; entries beyond fifty are not looked at. Raises ``Malformed`` for an entry that is cut short."""
        reader = Reader(payload, "ipx_rip")
        operation = reader.u16("length")
        entries: list[Entry] = []
        while len(reader) and len(entries) < ENTRIES_MAX:
            entries.append(Entry(reader.u32("length"), reader.u16("length"), reader.u16("length")))
        return cls(operation, tuple(entries))

    def emit(self) -> bytes:
        """The message as octets."""
        writer = Writer().u16(self.operation)
        for entry in self.entries:
            writer.u32(entry.network).u16(entry.hops).u16(entry.ticks)
        return writer.bytes()


def responses(entries: Sequence[Entry]) -> list[bytes]:
    """As many responses as are needed for all entries."""
    parts = (tuple(entries[at : at + ENTRIES_MAX]) for at in range(0, len(entries), ENTRIES_MAX))
    return [Message(RESPONSE, part).emit() for part in parts]
