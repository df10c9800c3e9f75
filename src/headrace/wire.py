"""Bounds-checked reading and writing of network-order octets. Every parser of this package stands on it.

A ``Reader`` never reads past its end and never copies more than asked; what is missing raises ``Truncated``, what is wrong
``Malformed``; both carry layer, field and offset, so that a refusal can say where.
"""

from __future__ import annotations

from headrace.errors import PeerError


class Malformed(PeerError):
    """Octets from a peer that do not make sense."""

    def __init__(self, layer: str, field: str, offset: int, reason: str) -> None:
        super().__init__(f"{layer}: {field} at octet {offset}: {reason}")
        self.layer = layer
        self.field = field
        self.offset = offset
        self.reason = reason


class Truncated(Malformed):
    """Octets from a peer that end too early."""


class Reader:
    """A cursor over immutable octets.

    ``base`` is the offset of ``data`` in the whole datagram, so that errors name a place that can be found in a capture.
    """

    __slots__ = ("_base", "_data", "_layer", "_pos")

    def __init__(self, data: bytes | memoryview, layer: str, base: int = 0) -> None:
        self._data = bytes(data)
        self._layer = layer
        self._pos = 0
        self._base = base

    def __len__(self) -> int:
        """Octets that are left."""
        return len(self._data) - self._pos

    @property
    def offset(self) -> int:
        """Where the cursor stands in the whole datagram."""
        return self._base + self._pos

    def take(self, n: int, field: str) -> bytes:
        """The next ``n`` octets. Raises ``Truncated`` if there are fewer, ``Malformed`` if ``n`` is negative."""
        if n < 0:
            raise Malformed(self._layer, field, self.offset, f"length {n}")
        if n > len(self):
            raise Truncated(self._layer, field, self.offset, f"needs {n} octets, {len(self)} are left")
        start = self._pos
        self._pos += n
        return self._data[start : self._pos]

    def u8(self, field: str) -> int:
        """One octet."""
        return self.take(1, field)[0]

    def u16(self, field: str) -> int:
        """Two octets, most significant first."""
        return int.from_bytes(self.take(2, field), "big")

    def u32(self, field: str) -> int:
        """Four octets, most significant first."""
        return int.from_bytes(self.take(4, field), "big")

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self), "rest")

    def sub(self, n: int, field: str) -> Reader:
        """A reader over the next ``n`` octets alone. Raises as ``take``."""
        base = self.offset
        return Reader(self.take(n, field), self._layer, base)

    def fail(self, field: str, reason: str) -> Malformed:
        """A ``Malformed`` for the place of the cursor, to be raised by the caller."""
        return Malformed(self._layer, field, self.offset, reason)

    def end(self, field: str) -> None:
        """Raise ``Malformed`` unless everything was read."""
        if len(self):
            raise self.fail(field, f"{len(self)} octets too many")


class Writer:
    """Octets in the making. Values out of range raise ``OverflowError``: that is our own mistake, never a peer's."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts = bytearray()

    def __len__(self) -> int:
        return len(self._parts)

    def u8(self, value: int) -> Writer:
        """Append one octet."""
        self._parts += value.to_bytes(1, "big")
        return self

    def u16(self, value: int) -> Writer:
        """Append two octets, most significant first."""
        self._parts += value.to_bytes(2, "big")
        return self

    def u32(self, value: int) -> Writer:
        """Append four octets, most significant first."""
        self._parts += value.to_bytes(4, "big")
        return self

    def raw(self, data: bytes) -> Writer:
        """Append octets as they are."""
        self._parts += data
        return self

    def bytes(self) -> bytes:
        """Everything written so far."""
        return bytes(self._parts)
