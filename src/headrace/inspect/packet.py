"""What a packet turned out to be: its layers in the order of the octets, and in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.inspect.isakmp import Isakmp
    from headrace.l2tp.header import Header
    from headrace.l2tp.message import Message
    from headrace.ppp.frame import Frame


@dataclass(frozen=True, slots=True)
class Layer:
    """One header or trailer, or the payload."""

    name: str
    octets: int
    detail: str = ""
    encrypted: bool = False
    """By ESP."""
    authenticated: bool = False
    """Covered by the ICV of ESP."""
    mppe: bool = False
    """Encrypted by MPPE, inside of ESP or alone."""


@dataclass(slots=True)
class Esp:
    """What is known of an ESP packet."""

    spi: int
    sequence: int
    udp: bool
    opened: bool = False


@dataclass(slots=True)
class Packet:
    """One packet of a capture, taken apart as far as keys and octets go."""

    number: int
    time: float
    length: int
    """Octets on the wire."""
    source: str = ""
    """Address, with the port where there is one."""
    destination: str = ""
    layers: list[Layer] = field(default_factory=list)
    protocol: str = ""
    """The innermost that was reached: ``ISAKMP``, ``ESP``, ``L2TP``, ``LCP``, ``IPv4`` ..."""
    summary: str = ""
    details: list[str] = field(default_factory=list)
    problem: str = ""
    """Why it could not be read further."""
    ends: tuple[tuple[bytes, int], tuple[bytes, int]] | None = None
    """Packed outer addresses and ports of source and destination; 0 for no port."""
    isakmp: Isakmp | None = None
    esp: Esp | None = None
    l2tp: Header | None = None
    message: Message | None = None
    """The L2TP control message."""
    ppp: Frame | None = None
    """Decrypted where the keys allow it."""
    mppe_opened: bool = False
    inner: tuple[str, str, int] | None = None
    """Source, destination and octets of the user's packet."""
    clear_ip: bytes | None = None
    """The packet without ESP: IP, UDP, L2TP ...; or as it was."""

    @property
    def octets(self) -> int:
        """Octets of all layers."""
        return sum(layer.octets for layer in self.layers)
