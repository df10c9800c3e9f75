"""PPP Multilink (RFC 1990): frames in numbered fragments over several links, and their way back together.

::

    long:  |B|E|0 0 0 0 0 0| sequence number, 24 bits     |  fragment      B: begins a frame, E: ends it
    short: |B|E|0 0| sequence number, 12 bits             |  fragment

A fragment is lost when every link has since brought a later one (section 4.1), when what waits behind it has waited too long (a link
that is idle brings nothing), or when there is no room to wait for it any longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from headrace.wire import Malformed

LONG_BITS: Final = 24
SHORT_BITS: Final = 12
LINKS_MAX: Final = 8
"""Links of one bundle."""
FRAGMENTS_MAX: Final = 256
"""Fragments that wait; with the MRU of a link the octets are bounded too."""
PATIENCE: Final = 1.0
"""Seconds that fragments wait for one that is missing."""
LEAST: Final = 64
"""Octets: no fragment but a frame's last is made smaller."""

_BEGIN: Final = 0x80
_END: Final = 0x40


@dataclass(frozen=True, slots=True)
class Terms:
    """What both ends of a link have agreed in LCP: links with the same discriminator and user are one bundle."""

    mrru_in: int
    """Largest frame (protocol and information) that we put together."""
    mrru_out: int
    """The same of the peer."""
    short_in: bool = False
    short_out: bool = False
    discriminator: bytes = b""
    """The peer's Endpoint Discriminator: class and address."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """One fragment. ``parse(emit(x)) == x`` for numbers that fit."""

    number: int
    begins: bool
    ends: bool
    data: bytes = field(repr=False)

    @classmethod
    def parse(cls, information: bytes, *, short: bool) -> Fragment:
        """Read what follows the protocol number 003d. Raises ``Malformed`` for a header cut short."""
        size = 2 if short else 4
        if len(information) < size:
            raise Malformed("mp", "short", 0, f"{len(information)} octets are no header of {size}")
        bits = SHORT_BITS if short else LONG_BITS
        number = int.from_bytes(information[:size], "big") & (1 << bits) - 1
        return cls(number, bool(information[0] & _BEGIN), bool(information[0] & _END), information[size:])

    def emit(self, *, short: bool) -> bytes:
        """The fragment as octets."""
        flags = (_BEGIN if self.begins else 0) | (_END if self.ends else 0)
        size = 2 if short else 4
        head = bytearray(self.number.to_bytes(size, "big"))
        head[0] |= flags
        return bytes(head) + self.data


class Sender:
    """Cuts frames for the links of a bundle."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._number = 0
        self._turn = 0

    def cut(self, frame: bytes, limits: Sequence[int]) -> list[tuple[int, bytes]]:
        """(index of the link, information field) of every fragment; ``limits`` are the links' MRUs. Nothing for a frame over the MRRU."""
        if not limits or len(frame) > self._terms.mrru_out:
            return []
        header = 2 if self._terms.short_out else 4
        share = max(LEAST, -(-len(frame) // len(limits)))
        pieces: list[tuple[int, bytes]] = []
        at = 0
        while at < len(frame) or not pieces:
            link = self._turn % len(limits)
            self._turn += 1
            size = min(share, limits[link] - header)
            pieces.append((link, frame[at : at + size]))
            at += size
        bits = SHORT_BITS if self._terms.short_out else LONG_BITS
        cut = []
        for index, (link, data) in enumerate(pieces):
            fragment = Fragment(self._number, begins=index == 0, ends=index == len(pieces) - 1, data=data)
            self._number = (self._number + 1) & (1 << bits) - 1
            cut.append((link, fragment.emit(short=self._terms.short_out)))
        return cut


class Receiver:
    """Puts the fragments of all links of a bundle together."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._next = 0
        """Number, counted on without end, of the first fragment that has not been used."""
        self._waiting: dict[int, Fragment] = {}
        self._latest: dict[int, int] = {}
        """By link: the highest number that it has brought."""
        self._since: float | None = None
        """Since when fragments have waited for a missing one."""
        self.drops: list[str] = []
        """Reasons for which fragments and frames were lost, to be taken by the owner."""

    def join(self, link: int) -> None:
        """A link is part of the bundle: until it brings something, nothing is taken for lost on its account."""
        self._latest[link] = self._next - 1

    def leave(self, link: int) -> None:
        """A link is gone."""
        self._latest.pop(link, None)

    def receive(self, link: int, information: bytes, now: float) -> list[bytes]:
        """Take one fragment; the frames that are whole now, in order. Raises ``Malformed``."""
        fragment = Fragment.parse(information, short=self._terms.short_in)
        modulus = 1 << (SHORT_BITS if self._terms.short_in else LONG_BITS)
        ahead = (fragment.number - self._next) % modulus
        if link not in self._latest or ahead >= modulus // 2:
            self.drops.append("mp_late")  # given up before, or there already
            return []
        number = self._next + ahead
        if number in self._waiting or number <= self._latest[link]:
            self.drops.append("mp_late")  # on one link numbers only rise (section 4.1)
            return []
        self._latest[link] = number
        self._waiting[number] = fragment
        frames = self._take()
        while self._waiting and (self._missing() < min(self._latest.values()) or len(self._waiting) > FRAGMENTS_MAX):
            self._skip()
            frames += self._take()
        self._since = None if not self._waiting else now if frames or self._since is None else self._since
        return frames

    def deadline(self) -> float | None:
        """When the missing are taken for lost."""
        return None if self._since is None else self._since + PATIENCE

    def tick(self, now: float) -> list[bytes]:
        """Give up what was waited for too long; the frames that are whole behind it."""
        if self._since is None or now < self._since + PATIENCE:
            return []
        self._skip()
        frames = self._take()
        self._since = now if self._waiting else None
        return frames

    def _take(self) -> list[bytes]:
        """Frames that begin at the next number and are whole."""
        frames: list[bytes] = []
        while (first := self._waiting.get(self._next)) is not None:
            if not first.begins:
                del self._waiting[self._next]
                self._next += 1
                self.drops.append("mp_headless")
                continue
            end, size = self._next, len(first.data)
            while not self._waiting[end].ends and end + 1 in self._waiting and not self._waiting[end + 1].begins:
                end += 1
                size += len(self._waiting[end].data)
            whole = self._waiting[end].ends
            if not whole and size <= self._terms.mrru_in and end + 1 not in self._waiting:
                break
            parts = [self._waiting.pop(number).data for number in range(self._next, end + 1)]
            self._next = end + 1
            if whole and size <= self._terms.mrru_in:
                frames.append(b"".join(parts))
            else:
                self.drops.append("mp_mrru" if size > self._terms.mrru_in else "mp_tailless")
        return frames

    def _missing(self) -> int:
        """The first number that has not come."""
        missing = self._next
        while missing in self._waiting:
            missing += 1
        return missing

    def _skip(self) -> None:
        """Give up the missing fragment and what is left of its frame: go on at the next beginning."""
        self.drops.append("mp_lost")
        missing = self._missing()
        rest = sorted(number for number in self._waiting if number > missing)
        beginning = next((number for number in rest if self._waiting[number].begins), None)
        self._next = beginning if beginning is not None else (rest[-1] + 1 if rest else missing)
        for number in [number for number in self._waiting if number < self._next]:
            del self._waiting[number]
