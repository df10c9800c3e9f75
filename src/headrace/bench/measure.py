"""One case, every implementation: checked first, then timed in turns on the same packets."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from headrace.bench.cases import ENCRYPT, HEADROOM, PACKETS, STRIDE, Case
from headrace.bench.native import BenchError, Peer, Toolbox, ffi, pointer_of
from headrace.bench.reference import MppeStream, open_
from headrace.bench.sets import EspSet, MppeSet, PacketSet, packet_set

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

HEADRACE: Final = "headrace"
_MOST: Final = 512
"""Passes of one turn at most."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    rounds: int
    turn: float
    """Seconds that an implementation gets in each round."""
    trials: int
    """How often each way of using a peer is tried before one is chosen."""
    least: int = 3
    """Passes of one turn at least, where a pass is shorter than a turn."""


QUICK: Final = Effort(rounds=5, turn=0.001, trials=1)
FULL: Final = Effort(rounds=11, turn=0.006, trials=3)
SMOKE: Final = Effort(rounds=1, turn=0.0, trials=1, least=1)


@dataclass(slots=True)
class Result:
    """What one implementation did in one case."""

    case: Case
    implementation: str
    octets: int
    """Payload of one pass of this implementation."""
    way: str
    """How the implementation was used, where there are several ways."""
    rounds: list[float] = field(default_factory=list)
    """Nanoseconds of a pass: the median of each round."""
    ghz: list[float] = field(default_factory=list)
    """Clock of the core in each round."""

    @property
    def ns(self) -> float:
        """Nanoseconds of a pass."""
        return statistics.median(self.rounds)

    @property
    def gbit(self) -> float:
        """Gigabits of payload a second."""
        return self.octets * 8 / self.ns

    @property
    def gbit_min(self) -> float:
        """In the slowest round."""
        return self.octets * 8 / max(self.rounds)

    @property
    def gbit_max(self) -> float:
        """In the fastest round."""
        return self.octets * 8 / min(self.rounds)

    @property
    def cycles_per_byte(self) -> float:
        """Cycles of the core's clock for each octet of payload; 0 where the clock is not known."""
        return statistics.median(ns * ghz for ns, ghz in zip(self.rounds, self.ghz, strict=True)) / self.octets


class Implementation(Protocol):
    """Something that does the job of a packet set."""

    name: str
    way: str
    octets: int
    """Payload of one pass."""

    def run(self, budget: float, least: int, most: int) -> list[float]:
        """Nanoseconds of each pass; empty if a packet did not come out as it should."""

    def close(self) -> None:
        """Give its keys back."""


class Native:
    """An implementation behind the harness."""

    def __init__(
        self, toolbox: Toolbox, packets: PacketSet, name: str, way: str, work: Any, state: Any, free: Callable[[Any], None]
    ) -> None:
        self.name = name
        self.way = way
        self._toolbox = toolbox
        self._packets = packets
        self.octets = packets.octets
        self._work = work
        self._state = state
        self._free = free
        self._ns = ffi().new("double[]", _MOST)

    def run(self, budget: float, least: int, most: int) -> list[float]:
        """As the protocol says. ``budget`` is in seconds."""
        done = self._toolbox.harness.hb_run(
            self._packets.set, self._work, self._state, budget * 1e9, least, min(most, _MOST), self._ns
        )
        return list(self._ns[0:done])

    def close(self) -> None:
        """As the protocol says."""
        self._free(self._state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def headrace(toolbox: Toolbox, packets: PacketSet) -> Native:
    """Our own. Raises ``BenchError`` if there are no keys to be had for the case."""
    harness = toolbox.harness
    if packets.case.mppe:
        streams = ("hr_crypt_mppe_new", "hr_crypt_mppe_free", "hr_crypt_mppe")
        state = harness.hb_headrace_mppe_new(packets.set, *map(pointer_of, streams))
        work, free = harness.hb_headrace_mppe_work(), harness.hb_headrace_mppe_free
    else:
        keys = ("hr_crypt_key_new", "hr_crypt_key_free", "hr_crypt_seal", "hr_crypt_open")
        state = harness.hb_headrace_new(packets.set, *map(pointer_of, keys))
        work, free = harness.hb_headrace_work(), harness.hb_headrace_free
    if state == ffi().NULL:
        raise BenchError(f"headrace has no keys for {packets.case.label}")
    return Native(toolbox, packets, HEADRACE, "", work, state, free)


def peer(toolbox: Toolbox, packets: PacketSet, of: Peer, effort: Effort) -> Native | None:
    """A peer in its fastest way for this case, ``None`` if it has none."""
    best: dict[int, float] = {}
    names = dict(_ways(packets, of))
    if effort.trials == 1 and names:  # in a hurry: those of the widest registers, which come first
        family = next(iter(names.values())).split()[0]
        names = (
            {index: name for index, name in names.items() if name.split()[0] == family}
            if _works(toolbox, packets, of, names)
            else names
        )
    for turn in range(effort.trials):
        for index, name in names.items():
            limit = 1.3 * min(best.values(), default=float("inf"))
            if turn > 0 and best.get(index, float("inf")) > limit:
                continue
            made = _peer(toolbox, packets, of, index, name)
            if made is None:
                continue
            with made:
                times = made.run(0, 1, 1)  # caches, and the order of magnitude
                if times and times[0] < min(4 * limit, effort.turn * 1e9):
                    times = made.run(effort.turn / 2, effort.least, _MOST)
            if times:
                best[index] = min(best.get(index, float("inf")), statistics.median(times))
    if not best:
        return None
    fastest = min(best, key=lambda index: best[index])
    return _peer(toolbox, packets, of, fastest, names[fastest])


def _works(toolbox: Toolbox, packets: PacketSet, of: Peer, names: dict[int, str]) -> bool:
    """Whether this processor can do the first way."""
    index, name = next(iter(names.items()))
    made = _peer(toolbox, packets, of, index, name)
    if made is not None:
        made.close()
    return made is not None


def _ways(packets: PacketSet, of: Peer) -> Iterator[tuple[int, str]]:
    index = -1
    while (text := of.lib.hb_peer_way(packets.set, index := index + 1)) != ffi().NULL:
        name = ffi().string(text).decode()
        if name:
            yield index, name


def _peer(toolbox: Toolbox, packets: PacketSet, of: Peer, way: int, name: str) -> Native | None:
    state = of.lib.hb_peer_new(packets.set, way)
    if state == ffi().NULL:
        return None
    return Native(toolbox, packets, of.name, name, of.lib.hb_peer_work(), state, of.lib.hb_peer_free)


# --- the check that comes first ---------------------------------------------------------------------------------------------------


def check(packets: EspSet | MppeSet, one: Native) -> None:
    """Run one pass and compare every packet with the reference. Raises ``BenchError``."""
    if isinstance(packets, MppeSet):
        _check_mppe(packets, one)
    elif packets.case.direction == ENCRYPT:
        _check_sealed(packets, one)
    else:
        _check_opened(packets, one)


def _wrong(packets: PacketSet, one: Native, what: str) -> BenchError:
    return BenchError(f"{one.name}{f' ({one.way})' if one.way else ''}: {packets.case.label}: {what}; nothing was measured")


def _check_sealed(packets: EspSet, one: Native) -> None:
    if not one.run(0, 1, 1):
        raise _wrong(packets, one, "the library refused to encrypt")
    ivs = set()
    for index, payload in enumerate(packets.payloads):
        entry = packets.packets[index]
        packet = packets.packet(index, int(entry.len) + packets.icv_len)
        ivs.add((int(entry.sa), packet[8 : packets.head]))
        try:
            found = open_(packets.proposal, *packets.keys(int(entry.sa)), packet)
        except Exception as error:
            raise _wrong(packets, one, f"packet {index} is not ESP: {error!r}") from error
        if found != payload or packet[4:8] != int(entry.seq).to_bytes(8, "big")[4:]:
            raise _wrong(packets, one, f"packet {index} carries something else")
    if len(ivs) != PACKETS:
        raise _wrong(packets, one, "an IV came twice")


def _check_opened(packets: EspSet, one: Native) -> None:
    if not one.run(0, 1, 1):
        raise _wrong(packets, one, "a good packet was refused")
    for index, payload in enumerate(packets.payloads):
        if packets.packet(index, packets.head + len(payload))[packets.head :] != payload:
            raise _wrong(packets, one, f"packet {index} was not decrypted")
    place = int(packets.packets[PACKETS // 2].off) + packets.head + 3
    packets.pristine[place] ^= 1
    accepted = one.run(0, 1, 1)
    packets.pristine[place] ^= 1
    if accepted:
        raise _wrong(packets, one, "a forged packet was accepted")


def _check_mppe(packets: MppeSet, one: Native) -> None:
    streams = [MppeStream(packets.start_key(n), stateless=packets.how.stateless) for n in range(packets.how.streams)]
    for _ in range(2):  # the second pass goes on where the first ended
        if not one.run(0, 1, 1):
            raise _wrong(packets, one, "the library refused to encrypt")
        for index, payload in enumerate(packets.payloads):
            header, text = streams[packets.owner(index)].apply(payload)
            off = index * STRIDE + HEADROOM
            if packets.arena[off - 2 : off + len(text)].tobytes() != header.to_bytes(2, "big") + text:
                raise _wrong(packets, one, f"packet {index} differs from RFC 3078")


# --- timing ---------------------------------------------------------------------------------------------------------------------


def measure(
    toolbox: Toolbox,
    case: Case,
    effort: Effort,
    *,
    extra: Sequence[Callable[[EspSet | MppeSet], Implementation | None]] = (),
    only: frozenset[str] | None = None,
) -> list[Result]:
    """Every implementation in one case: ours first. Raises ``BenchError`` if one gives a wrong packet.

    ``extra`` makes further implementations; ``only`` names those that are wanted beside headrace.
    """
    packets = packet_set(case)
    with ExitStack() as stack:
        ours = stack.enter_context(headrace(toolbox, packets))
        check(packets, ours)
        running: list[Implementation] = [ours]
        for library in toolbox.peers:
            if only is not None and library.name not in only:
                continue
            found = peer(toolbox, packets, library, effort)
            if found is None:
                continue
            stack.callback(found.close)
            check(packets, found)
            running.append(found)
        for make in extra:
            further = make(packets)
            if further is not None:
                stack.callback(further.close)
                running.append(further)
        return _turns(toolbox, packets, running, effort)


def _turns(toolbox: Toolbox, packets: PacketSet, running: Sequence[Implementation], effort: Effort) -> list[Result]:
    results = [Result(packets.case, one.name, one.octets, one.way) for one in running]
    # Caches, branch predictors, the wider registers' power.
    warm = [sum(one.run(effort.turn / 2, 1, _MOST)[:1]) / 1e9 for one in running]
    for number in range(effort.rounds):
        order = [(number + n) % len(running) for n in range(len(running))]
        for place in order:
            least = effort.least if warm[place] < effort.turn else 1
            times = running[place].run(effort.turn, least, _MOST)
            if not times:
                raise BenchError(f"{running[place].name}: {packets.case.label}: a packet came out wrong while it was timed")
            results[place].rounds.append(statistics.median(times))
            results[place].ghz.append(toolbox.core_ghz())
    return results
