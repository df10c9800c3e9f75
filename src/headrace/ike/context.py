"""What everything of one endpoint shares: configuration, randomness, outboxes, the SPIs in use. No behaviour of the protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.core import Outbox
from headrace.ike.config import IkeConfig
from headrace.ike.constants import COOKIE_OCTETS, HEADER_OCTETS
from headrace.ike.events import Dropped, IkeEvent
from headrace.ike.limits import MAX_FRAGMENT_OCTETS
from headrace.ike.message import Header
from headrace.ike.phase2_offer import SPI_FIRST
from headrace.ike.refusal import Drop
from headrace.model import Datagram, Endpoint, Rand


@dataclass(frozen=True, slots=True)
class Received:
    """A message with where it came from. ``data`` is whole: fragments are joined, the non-ESP marker is gone."""

    header: Header
    data: bytes
    local: Endpoint
    remote: Endpoint

    @property
    def body(self) -> bytes:
        """Everything behind the header."""
        return self.data[HEADER_OCTETS:]


class Context:
    """Shared by all negotiations, SAs and peers of one endpoint."""

    __slots__ = (
        "_fragment_octets",
        "_spi_free",
        "config",
        "datagrams",
        "events",
        "ike_port",
        "natt_port",
        "rand",
        "remote_natt_port",
        "spis",
    )

    def __init__(
        self,
        config: IkeConfig,
        rand: Rand,
        spi_free: Callable[[int], bool],
        ike_port: int,
        natt_port: int,
        remote_natt_port: int,
    ) -> None:
        self.config = config
        self.rand = rand
        self.datagrams: Outbox[Datagram] = Outbox()
        self.events: Outbox[IkeEvent] = Outbox()
        self.ike_port = ike_port
        self.natt_port = natt_port
        self.remote_natt_port = remote_natt_port
        """Where an initiator floats to."""
        self.spis: set[int] = set()
        """Our inbound SPIs, in use or promised."""
        self._spi_free = spi_free
        self._fragment_octets = 0

    def send(self, local: Endpoint, remote: Endpoint, data: bytes) -> None:
        """Queue a datagram."""
        self.datagrams.put(Datagram(local, remote, data))

    def drop(self, remote: Endpoint, drop: Drop) -> None:
        """Count a datagram that is ignored."""
        self.events.put(Dropped(remote, drop.reason))

    def cookie(self) -> bytes:
        """A fresh cookie, never zero."""
        while not any(cookie := self.rand(COOKIE_OCTETS)):
            pass
        return cookie

    def message_id(self) -> int:
        """A fresh message id, never zero."""
        while not (number := int.from_bytes(self.rand(4), "big")):
            pass
        return number

    def spi(self) -> int:
        """A fresh inbound SPI that nothing here or in the data plane uses; to be given back to ``release``."""
        while True:
            number = int.from_bytes(self.rand(4), "big")
            if number >= SPI_FIRST and number not in self.spis and self._spi_free(number):
                self.spis.add(number)
                return number

    def release(self, spi: int) -> None:
        """An inbound SPI is no longer in use."""
        self.spis.discard(spi)

    def fraction(self) -> float:
        """A random number from 0 up to 1, for jitter."""
        return int.from_bytes(self.rand(4), "big") / (1 << 32)

    def charge(self, octets: int) -> bool:
        """Account for octets of unfinished messages; whether there is room for them."""
        if self._fragment_octets + octets > MAX_FRAGMENT_OCTETS:
            return False
        self._fragment_octets += octets
        return True
