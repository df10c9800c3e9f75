"""Fragments of TLS messages, as EAP-TLS and PEAP carry them (RFC 5216 sections 2.1.5 and 3.1).

::

    +-----------------+------------------------+--------------+
    | Flags           | TLS Message Length (4) | TLS Data ...     L: the length is there; M: more follow; S: start
    | L M S 0 0 V V V | if L                   |                  V: PEAP's version, 0 in EAP-TLS
    +-----------------+------------------------+--------------+

Each fragment is answered before the next one comes: by a fragment without flags and data as long as M is set.
"""

from __future__ import annotations

from typing import Final

from headrace.ppp.eap import HEADER, MESSAGE_LIMIT
from headrace.wire import Malformed, Reader, Writer

LENGTH: Final = 0x80
MORE: Final = 0x40
START: Final = 0x20
VERSION: Final = 0x07


class TooMuch(Malformed):
    """A message that is larger than any honest one."""


class Fragments:
    """Both directions of one conversation: what is still to be sent of our message, what has come of the peer's."""

    __slots__ = ("_announced", "_first", "_incoming", "_outgoing")

    def __init__(self) -> None:
        self._outgoing = b""
        self._first = False
        self._incoming = bytearray()
        self._announced: int | None = None

    @property
    def sending(self) -> bool:
        """Whether fragments of our message are left."""
        return bool(self._outgoing)

    @property
    def receiving(self) -> bool:
        """Whether fragments of the peer's message are missing."""
        return self._announced is not None or bool(self._incoming)

    def load(self, message: bytes) -> None:
        """Begin to send a message."""
        self._outgoing, self._first = message, True

    def next(self, room: int) -> bytes:
        """The next fragment of our message as type-data. ``room``: octets of the largest EAP packet."""
        space = max(room - HEADER - 1 - 4, 16)
        first, self._first = self._first, False
        total = len(self._outgoing)
        data, self._outgoing = self._outgoing[:space], self._outgoing[space:]
        more = bool(self._outgoing)
        writer = Writer().u8((LENGTH if first and more else 0) | (MORE if more else 0))
        if first and more:
            writer.u32(total)
        return writer.raw(data).bytes()

    def take(self, flags: int, reader: Reader) -> bytes | None:
        """One of the peer's fragments, behind its flags: the whole message if it was the last, ``None`` if it must be acknowledged.

        Raises ``TooMuch`` for a message over ``MESSAGE_LIMIT``, ``Malformed`` for more than announced and for empty fragments.
        """
        if flags & LENGTH:
            total = reader.u32("fragment")
            if total > MESSAGE_LIMIT:
                raise TooMuch(
                    "eap",
                    "fragment",
                    HEADER + 1,
                    f"a message of {total} octets is announced, at most {MESSAGE_LIMIT} are taken",
                )
            if self._announced is not None and total != self._announced:
                raise reader.fail("fragment", f"the announced length changes from {self._announced} to {total}")
            self._announced = total
        data = reader.rest()
        if not data and flags & MORE:
            raise reader.fail("fragment", "an empty fragment that says that more follow")
        self._incoming += data
        if len(self._incoming) > MESSAGE_LIMIT:
            raise TooMuch("eap", "fragment", HEADER, f"fragments of more than {MESSAGE_LIMIT} octets")
        if self._announced is not None and len(self._incoming) > self._announced:
            raise reader.fail("fragment", f"{len(self._incoming)} octets in a message of {self._announced}")
        if flags & MORE:
            return None
        if self._announced is not None and len(self._incoming) < self._announced:
            raise reader.fail("fragment", f"the message ends after {len(self._incoming)} of {self._announced} octets")
        message = bytes(self._incoming)
        self._incoming.clear()
        self._announced = None
        return message
