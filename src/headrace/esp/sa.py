"""The ESP SAs of one peer as the control plane sees them: lives, when to rekey, how an old pair and a new one overlap.

Replay windows, sequence numbers and octet counts are the data plane's (``csrc/replay.h``); it reports the soft limit.

A pair of SAs (a *child*) goes through the states of ``ChildState``. When a second pair becomes active there are two cases: it was
begun when the first was active, then it is its successor; or both were being made at the same time, because both sides began a
rekey, then they are rivals and the one whose lowest nonce is lower loses (the rule of RFC 7296 section 2.8.1, which both sides can
apply alone). Who began the successor takes the predecessor away after a moment, who began the loser takes the loser; where that
does not happen, the other side does so later.

The sides may differ over which case it is while a message is under way, and other implementations have other rules. So a superseded
pair stays able to serve for a while, and does again when the one that replaced it is taken away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from headrace.core import earliest
from headrace.esp.proposal import EspProposal
from headrace.model import EspKeys

LIFE_MARGIN: Final = 1.1
"""The life that we propose, in terms of the time after which we rekey."""


@dataclass(frozen=True, slots=True)
class Plan:
    """When an SA is to be renewed, and when it must be gone."""

    rekey_after: float
    """Seconds."""
    life: float
    """Seconds."""
    soft_bytes: int = 0
    """Octets; 0 is none."""
    hard_bytes: int = 0


def plan(rekey_time: float, life: float, life_bytes: int, *, initiator: bool, jitter: float) -> Plan:
    """Spread renewals so that the sides do not meet: who began an SA renews it first, the other only if that did not happen.

    ``rekey_time`` is our own wish in seconds, ``life`` and ``life_bytes`` what was agreed (0 octets is none), ``jitter`` is random
    from 0 up to 1.
    """
    if initiator:
        after = min(rekey_time, 0.9 * life) * (1 - 0.1 * jitter)
        soft = int(life_bytes * (0.75 - 0.05 * jitter))
    else:
        after = life * (0.97 - 0.02 * jitter)
        soft = int(life_bytes * (0.8 - 0.02 * jitter))
    return Plan(after, life, soft, life_bytes)


class ChildState(Enum):
    """How far a pair of SAs is."""

    LARVAL = auto()
    """Inbound is installed, the other side has not confirmed."""
    ACTIVE = auto()
    SUPERSEDED = auto()
    """A newer pair has taken over; kept for what is still under way."""
    GONE = auto()


@dataclass(slots=True, eq=False)
class Child:
    """One pair of ESP SAs."""

    inbound: EspKeys
    outbound: EspKeys
    proposal: EspProposal
    initiator: bool
    """Whether this side began its negotiation."""
    plan: Plan
    started: float
    """When its negotiation began, on the clock of the caller."""
    tag: bytes = field(repr=False)
    """The lower of both nonces: decides between rivals."""
    local_port: int
    """Inner UDP port of our side."""
    remote_port: int
    """Inner UDP port of the peer's side; 0 for any."""
    state: ChildState = ChildState.LARVAL
    established: float = 0.0
    rekey_at: float | None = None
    retire_at: float | None = None
    """When it goes because a newer pair has taken over."""
    ends_at: float | None = None
    """When it goes for good, once the peer has been told."""
    outbound_installed: bool = False
    outbound_used: bool = False
    """It was installed once: it can never be again, for its numbers would begin anew under the same key."""

    @property
    def spi_in(self) -> int:
        """Our SPI: names the pair."""
        return self.inbound.spi

    @property
    def spi_out(self) -> int:
        """The peer's SPI."""
        return self.outbound.spi

    @property
    def expires_at(self) -> float:
        """When its life is over."""
        return self.established + self.plan.life if self.ends_at is None else self.ends_at


class Due(Enum):
    """What the time has come for."""

    REKEY = auto()
    RETIRE = auto()
    """Superseded, and everybody has had the time to switch."""
    EXPIRE = auto()


class Children:
    """The pairs of one peer."""

    __slots__ = ("_items", "_settle", "_settle_other")

    def __init__(self, settle: float, settle_other: float) -> None:
        """Seconds: ``settle`` until we take away what we replaced, ``settle_other`` until the peer should have."""
        self._items: dict[int, Child] = {}
        self._settle = settle
        self._settle_other = settle_other

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Child]:
        return iter(list(self._items.values()))

    def get(self, spi_in: int) -> Child | None:
        """The pair with this inbound SPI."""
        return self._items.get(spi_in)

    def by_outbound(self, spi_out: int) -> Child | None:
        """The pair with this outbound SPI."""
        return next((child for child in self._items.values() if child.spi_out == spi_out), None)

    @property
    def active(self) -> list[Child]:
        """Pairs in full use, oldest first."""
        return [child for child in self._items.values() if child.state is ChildState.ACTIVE]

    @property
    def usable(self) -> int:
        """How many pairs the peer can be reached by."""
        return sum(child.outbound_installed for child in self._items.values())

    @property
    def alive(self) -> bool:
        """Whether there is a pair by which the peer can be reached, or soon will be."""
        return any(child.outbound_installed or child.state is ChildState.LARVAL for child in self._items.values())

    def add(self, child: Child) -> None:
        """A new pair, inbound only."""
        self._items[child.spi_in] = child

    def remove(self, child: Child) -> None:
        """A pair is gone."""
        child.state = ChildState.GONE
        self._items.pop(child.spi_in, None)

    def activate(self, child: Child, now: float) -> bool:
        """Both directions of a pair are agreed: older pairs, or a rival, are superseded.

        Says whether the pair is the one to use; a rival that lost is not, and its outbound SA need not even be installed.
        """
        others = self.active
        child.state = ChildState.ACTIVE
        child.established = now
        child.rekey_at = now + child.plan.rekey_after
        for other in others:
            if other.established <= child.started:
                self._supersede(other, now, ours=child.initiator)
                continue
            loser = min(child, other, key=lambda item: item.tag)
            self._supersede(loser, now, ours=loser.initiator)
            if loser is child:
                return False
        return True

    def revive(self, now: float) -> Child | None:
        """Where no pair is active any more, the newest superseded one whose outbound SA can still serve becomes so again.

        It can if it is installed, or never was: an outbound SA that was taken away would begin its numbers anew under the same key.
        """
        if self.active:
            return None
        for child in reversed(self._items.values()):
            usable = child.outbound_installed or not child.outbound_used
            if child.state is ChildState.SUPERSEDED and usable and child.ends_at is None:
                child.state = ChildState.ACTIVE
                child.retire_at = None
                child.rekey_at = max(now, child.established + child.plan.rekey_after)
                return child
        return None

    def oldest_superseded(self) -> Child | None:
        """The pair that can be spared first."""
        return next((child for child in self._items.values() if child.state is ChildState.SUPERSEDED), None)

    def _supersede(self, child: Child, now: float, *, ours: bool) -> None:
        child.state = ChildState.SUPERSEDED
        child.rekey_at = None
        child.retire_at = now + (self._settle if ours else self._settle_other)

    def deadline(self) -> float | None:
        """When ``due`` may have something."""
        return earliest(when for child in self._items.values() for when, _ in self._timers(child))

    def due(self, now: float) -> list[tuple[Due, Child]]:
        """What the time has come for. The caller rekeys, or removes."""
        found = [(what, child) for child in self._items.values() for when, what in self._timers(child) if when <= now]
        return sorted(found, key=lambda item: item[0].value, reverse=True)

    def _timers(self, child: Child) -> Iterator[tuple[float, Due]]:
        if child.state is ChildState.LARVAL:
            return
        if child.rekey_at is not None:
            yield child.rekey_at, Due.REKEY
        if child.retire_at is not None:
            yield child.retire_at, Due.RETIRE
        yield child.expires_at, Due.EXPIRE
