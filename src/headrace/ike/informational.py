"""The informational exchange (RFC 2409 section 5.7, RFC 2408 section 3.14, 3.15): what an authenticated message tells us to do.

Its HASH was checked by the channel before anything here runs. Everything in one message is read before any of it acts, so that a
malformed part makes the whole without effect.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from headrace.ike.channel import Channel
from headrace.ike.constants import COOKIE_OCTETS, NOTIFY_STATUS_FIRST, NotifyType, PayloadType, ProtocolId
from headrace.ike.message import Chain
from headrace.ike.payloads import Delete, Notify
from headrace.ike.phase1 import Phase1
from headrace.ike.phase2_offer import SPI_OCTETS
from headrace.ike.refusal import Drop
from headrace.wire import Malformed

_DPD_OCTETS: Final = 4
_SPI_SIZES: Final[dict[int, int]] = {ProtocolId.ESP: SPI_OCTETS, ProtocolId.ISAKMP: 2 * COOKIE_OCTETS}


class Target(Protocol):
    """The peer that a message is about."""

    def peer_deleted_children(self, spis: Iterable[int], now: float) -> bool:
        """The peer took ESP SAs away, named by its own inbound SPIs. Whether any of them was known."""

    def peer_deleted_phase1(self, cookies: bytes, now: float) -> bool:
        """The peer took an ISAKMP SA away. Whether it was this peer's."""

    def peer_asks(self, phase1: Phase1, sequence: int, now: float) -> None:
        """R-U-THERE. Raises ``Drop`` for a number that is not believed."""

    def peer_answers(self, sequence: int, now: float) -> None:
        """R-U-THERE-ACK. Raises ``Drop`` for one that was not asked for."""

    def peer_began_anew(self, phase1: Phase1, now: float) -> None:
        """INITIAL-CONTACT."""

    def peer_refused(self, phase1: Phase1, notify: int, spi: bytes, now: float) -> None:
        """An error notification."""


def act(target: Target, phase1: Phase1, chain: Chain, now: float) -> None:
    """Do what a message says, payload by payload. Raises ``Drop``."""
    try:
        orders = [payload for raw in chain.items if isinstance(payload := raw.decode(), (Notify, Delete))]
    except Malformed as error:
        raise Drop("ike_malformed", str(error)) from error
    for order in orders:
        if isinstance(order, Delete) and _SPI_SIZES.get(order.protocol) != order.spi_octets:
            raise Drop("ike_delete", f"protocol {order.protocol} with SPIs of {order.spi_octets} octets")
    known = True
    for order in orders:
        if isinstance(order, Notify):
            _notified(target, phase1, order, now)
        elif order.protocol == ProtocolId.ESP:
            known &= target.peer_deleted_children((int.from_bytes(spi, "big") for spi in order.spis), now)
        else:
            for spi in order.spis:
                known &= target.peer_deleted_phase1(spi, now)
            if phase1.channel.cookies in order.spis:
                break  # whatever else the message says, it says it of an SA that is gone
    if not known:
        raise Drop("ike_delete", "an SPI that is not, or no longer, this peer's")


def _notified(target: Target, phase1: Phase1, note: Notify, now: float) -> None:
    match note.type:
        case NotifyType.R_U_THERE | NotifyType.R_U_THERE_ACK:
            if len(note.data) != _DPD_OCTETS or note.spi not in {phase1.channel.cookies, b""}:
                raise Drop("ike_dpd", "no sequence number, or other cookies")
            sequence = int.from_bytes(note.data, "big")
            if note.type == NotifyType.R_U_THERE:
                target.peer_asks(phase1, sequence, now)
            else:
                target.peer_answers(sequence, now)
        case NotifyType.INITIAL_CONTACT:
            target.peer_began_anew(phase1, now)
        case NotifyType.CONNECTED:
            pass  # late: the quick mode did not wait for it
        case number if number < NOTIFY_STATUS_FIRST:
            target.peer_refused(phase1, number, note.spi, now)
        case _:
            raise Drop("ike_notify")


def dpd(kind: NotifyType, channel: Channel, sequence: int) -> list[tuple[int, bytes]]:
    """R-U-THERE or its answer (RFC 3706 section 5.2)."""
    return [
        (PayloadType.NOTIFY, Notify(kind, ProtocolId.ISAKMP, channel.cookies, sequence.to_bytes(_DPD_OCTETS, "big")).emit())
    ]


def delete_children(spis: Iterable[int]) -> list[tuple[int, bytes]]:
    """Delete of ESP SAs, named by our inbound SPIs."""
    return [
        (PayloadType.DELETE, Delete(ProtocolId.ESP, SPI_OCTETS, tuple(spi.to_bytes(SPI_OCTETS, "big") for spi in spis)).emit())
    ]


def delete_phase1(channel: Channel) -> list[tuple[int, bytes]]:
    """Delete of an ISAKMP SA."""
    return [(PayloadType.DELETE, Delete(ProtocolId.ISAKMP, 2 * COOKIE_OCTETS, (channel.cookies,)).emit())]


def refuse(notify: NotifyType, spi: bytes) -> list[tuple[int, bytes]]:
    """An error notification about a quick mode."""
    return [(PayloadType.NOTIFY, Notify(notify, ProtocolId.ESP, spi).emit())]
