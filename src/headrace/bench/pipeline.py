"""The whole way of a packet, encap and decap, beside the ESP work alone on packets of the same length, in the same rounds.

A gateway with several peers: packets are routed by their inner destination on the way out, and their inner source is checked on the way
in. What leaves the one data plane enters the other.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, Final

from headrace.bench.cases import IMIX, PACKETS, STRIDE, Case, Size, lengths
from headrace.bench.measure import HEADRACE, Effort, Native, Result, check, headrace
from headrace.bench.native import BenchError, Toolbox, ffi, pointer, pointer_of
from headrace.bench.sets import EspSet
from headrace.dataplane.batch import Batch, endpoint_record
from headrace.dataplane.native import lib
from headrace.dataplane.tables import DataPlane, PeerConfig, SessionConfig
from headrace.esp.proposal import EspProposal
from headrace.model import Endpoint, EspKeys, MppeKeys, MppePolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

ENCAP: Final = "encap"
DECAP: Final = "decap"
AROUND: Final = 8 + 6 + 4
"""Octets between ESP and the inner packet: UDP, L2TP, PPP."""
SESSIONS: Final = 16
_HERE: Final = Endpoint.of("192.0.2.1", 4500)
_THERE: Final = Endpoint.of("198.51.100.7", 4500)
_MOST: Final = 512


@dataclass(frozen=True, slots=True)
class Traffic:
    """What goes through the pipeline."""

    name: str
    """Of the row: a transform, or what is mixed."""
    transforms: tuple[str, ...]
    """Those of the peers, in turn."""
    size: Size
    """Of the inner packets."""
    batch: int = PACKETS
    sessions: int = SESSIONS
    mppe: bool = False


def inner(length: int, source: IPv4Address, destination: IPv4Address, rng: random.Random) -> bytes:
    """An IPv4 packet of so many octets that carries UDP."""
    head = bytearray(
        b"\x45\0" + length.to_bytes(2, "big") + rng.randbytes(2) + b"\x40\0\x40\x11\0\0" + source.packed + destination.packed
    )
    total = sum(int.from_bytes(head[n : n + 2]) for n in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = (~(total + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
    return bytes(head) + rng.randbytes(length - 20)


class Pipe:
    """Two data planes joined, and a batch of packets for them: the implementation behind ``hb_pipeline``."""

    def __init__(self, toolbox: Toolbox, traffic: Traffic, stack: ExitStack, *, seed: int = 1) -> None:
        rng = random.Random(seed)
        self.traffic = traffic
        self._toolbox = toolbox
        n = traffic.sessions
        self.out = stack.enter_context(DataPlane(max_peers=n, max_sas=2 * n, max_sessions=n))
        self.into = stack.enter_context(DataPlane(max_peers=n, max_sas=2 * n, max_sessions=n))
        for number in range(traffic.sessions):
            self._join(number, EspProposal.parse(traffic.transforms[number % len(traffic.transforms)]), rng)
        self.lengths = lengths(traffic.size, PACKETS, rng)
        self.octets = sum(self.lengths)
        self.owners = [rng.randrange(traffic.sessions) for _ in range(PACKETS)]
        self.packets = [
            inner(length, _address(10, owner), _address(11, owner), rng)
            for length, owner in zip(self.lengths, self.owners, strict=True)
        ]
        self._batch = Batch(PACKETS, STRIDE)
        self._batch.load(self.packets, lib.HR_KIND_IP)
        self._desc = self._batch.desc.copy()
        self._octets = self._batch.arena.copy()
        self._set: Any = ffi().new("struct hb_set *")
        self._set.arena = self._arena = ffi().from_buffer("uint8_t[]", self._batch.arena, require_writable=True)
        self._set.pristine = self._pristine = ffi().from_buffer("uint8_t[]", self._octets, require_writable=True)
        self._set.arena_len, self._set.n, self._set.batch = self._batch.arena.nbytes, PACKETS, traffic.batch
        self._descriptors = ffi().from_buffer("struct hr_desc[]", self._desc, require_writable=True)
        self._from: Any = ffi().new("struct hr_endpoint *")
        self._from_record = endpoint_record(_HERE)
        ffi().memmove(self._from, self._from_record.tobytes(), self._from_record.nbytes)
        self._ns = ffi().new("double[]", 2 * _MOST)
        self._check()

    def _join(self, number: int, proposal: EspProposal, rng: random.Random) -> None:
        spi = 0x1000 + number
        enc, auth = rng.randbytes(proposal.enc_octets), rng.randbytes(proposal.auth_octets)
        start = rng.randbytes(16)
        ends = ((self.out, True, _THERE, _address(11, number)), (self.into, False, _HERE, _address(10, number)))
        for plane, outbound, remote, own in ends:
            peer = plane.add_peer(PeerConfig(remote, udp_encap=True))
            sa = plane.add_sa(peer, EspKeys(spi, outbound, proposal.cipher, proposal.auth, enc, auth))
            if outbound:
                plane.use_sa(sa)
            session = plane.add_session(
                SessionConfig(
                    peer,
                    number + 1,
                    1,
                    number + 1,
                    1,
                    open4=True,
                    own4=own,
                    mppe_policy=MppePolicy.REQUIRED if self.traffic.mppe else MppePolicy.NEVER,
                )
            )
            if self.traffic.mppe:
                plane.set_mppe(session, MppeKeys(outbound, 128, stateless=True, start_key=start))

    def _check(self) -> None:
        """Once through both, by the Python face: every packet must come out as it went in."""
        batch = Batch(PACKETS, STRIDE)
        batch.load(self.packets, lib.HR_KIND_IP)
        self.out.encap(batch, 1)
        self._must(batch)
        wire = batch.packets()
        batch.load(wire, lib.HR_KIND_UDP4500, remote=_HERE)
        self.into.decap(batch, 1)
        self._must(batch)
        if batch.packets() != self.packets:
            raise BenchError(f"pipeline, {self.traffic.name}: a packet came out changed; nothing was measured")
        if len(set(wire)) != PACKETS:
            raise BenchError(f"pipeline, {self.traffic.name}: two packets look alike on the wire; nothing was measured")

    def _must(self, batch: Batch) -> None:
        bad = {status for status in batch.statuses() if status != "ok"}
        if bad:
            raise BenchError(f"pipeline, {self.traffic.name}: {', '.join(sorted(bad))}; nothing was measured")

    def run(self, budget: float, least: int) -> tuple[list[float], list[float]]:
        """Nanoseconds of each pass, of encap and of decap."""
        done = self._toolbox.harness.hb_pipeline(
            pointer(self.out.handle),
            pointer(self.into.handle),
            pointer_of("hr_encap"),
            pointer_of("hr_decap"),
            self._set,
            self._descriptors,
            self._from,
            budget * 1e9,
            least,
            _MOST,
            self._ns,
        )
        if not done:
            raise BenchError(f"pipeline, {self.traffic.name}: a packet was lost while it was timed")
        return list(self._ns[0:done]), list(self._ns[_MOST : _MOST + done])


def _address(first: int, number: int) -> IPv4Address:
    return IPv4Address(bytes((first, 0, number >> 8, number & 0xFF)) if number else bytes((first, 0, 255, 255)))


@dataclass(slots=True)
class Overhead:
    """What a row of the pipeline costs beyond something else that was measured in the same rounds."""

    what: str
    direction: str
    rounds: list[float] = field(default_factory=list)
    """Ratio of each round."""
    bar: float | None = None
    """At most so much."""

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.rounds)


@dataclass(slots=True)
class Outcome:
    """Rows and ratios."""

    results: list[Result] = field(default_factory=list)
    overheads: list[Overhead] = field(default_factory=list)


def _rows(traffic: Traffic, octets: int, name: str = HEADRACE) -> tuple[Result, Result]:
    one, two = (Result(Case(traffic.name, way, traffic.size, traffic.batch), name, octets, "") for way in (ENCAP, DECAP))
    return one, two


def measure_one(toolbox: Toolbox, traffic: Traffic, effort: Effort, *, bar: float | None = None) -> Outcome:
    """One kind of traffic beside the ESP work alone of the same packets."""
    outcome = Outcome()
    with ExitStack() as stack:
        pipe = Pipe(toolbox, traffic, stack)
        alone = (
            [_alone(toolbox, traffic, pipe, direction, stack) for direction in ("encrypt", "decrypt")]
            if not traffic.mppe
            else []
        )
        rows = _rows(traffic, pipe.octets)
        esp_rows = _rows(traffic, pipe.octets, "ESP alone")
        over = [
            Overhead(f"{traffic.name} {_size(traffic)} batch {traffic.batch}: over ESP alone", way, bar=bar)
            for way in (ENCAP, DECAP)
        ]
        pipe.run(effort.turn, 1)
        for _ in range(effort.rounds):
            times = [statistics.median(series) for series in pipe.run(2 * effort.turn, effort.least)]
            ghz = toolbox.core_ghz()
            for row, ns in zip(rows, times, strict=True):
                row.rounds.append(ns)
                row.ghz.append(ghz)
            for which, esp in enumerate(alone):
                ns = statistics.median(esp.run(effort.turn, effort.least, _MOST))
                esp_rows[which].rounds.append(ns)
                esp_rows[which].ghz.append(ghz)
                over[which].rounds.append(times[which] / ns - 1)
        outcome.results += [row for pair in zip(rows, esp_rows, strict=True) for row in pair] if alone else rows
        outcome.overheads += over if alone else []
    return outcome


def _size(traffic: Traffic) -> str:
    return "IMIX" if traffic.size == "imix" else f"{traffic.size} B"


def _alone(toolbox: Toolbox, traffic: Traffic, pipe: Pipe, direction: str, stack: ExitStack) -> Native:
    """Header, number, IV, padding, ICV, window of the same packets, without what is inside: ``headrace bench kernels``' job."""
    packets = EspSet(
        Case(traffic.transforms[0], direction, traffic.size, traffic.batch),
        [length + AROUND for length in pipe.lengths],
        pipe.owners,
    )
    one = stack.enter_context(headrace(toolbox, packets))
    check(packets, one)
    return one


MIXED_TRANSFORMS: Final = ("aes128-sha1", "aes256-sha256", "aes256gcm16", "aes128gcm16")


def measure_mixed(toolbox: Toolbox, effort: Effort, *, bar: float | None = None) -> Outcome:
    """Batches of several SAs, transforms and lengths, beside what their packets cost in uniform batches."""
    outcome = Outcome()
    main = MIXED_TRANSFORMS[0]
    with ExitStack() as stack:
        uniform = {
            (name, size): Pipe(toolbox, Traffic(name, (name,), size), stack) for name in MIXED_TRANSFORMS for size, _ in IMIX
        }
        single = Pipe(toolbox, Traffic(main, (main,), 570, sessions=1), stack)
        mixes: list[tuple[Pipe, Callable[[dict[Any, list[float]]], list[float]], str]] = []

        def add(traffic: Traffic, *, against_single: bool = False) -> None:
            pipe = Pipe(toolbox, traffic, stack)

            def expect(cost: dict[Any, list[float]]) -> list[float]:
                if against_single:
                    return cost["single"]
                total = [0.0, 0.0]
                for length, owner in zip(pipe.lengths, pipe.owners, strict=True):
                    name = traffic.transforms[owner % len(traffic.transforms)]
                    for way in (0, 1):
                        total[way] += cost[name, length][way] / PACKETS
                return total

            mixes.append((pipe, expect, traffic.name))

        add(Traffic("mixed: 256 SAs", (main,), 570, sessions=256), against_single=True)
        add(Traffic("mixed: lengths", (main,), "imix"))
        add(Traffic("mixed: transforms", MIXED_TRANSFORMS, 570))
        add(Traffic("mixed: all of it", MIXED_TRANSFORMS, "imix", sessions=64))
        rows = [_rows(pipe.traffic, pipe.octets) for pipe, _, _ in mixes]
        losses = [[Overhead(f"{name}: beside uniform batches", way, bar=bar) for way in (ENCAP, DECAP)] for _, _, name in mixes]
        for _ in range(effort.rounds):
            cost: dict[Any, list[float]] = {
                key: [statistics.median(series) for series in pipe.run(effort.turn, effort.least)]
                for key, pipe in uniform.items()
            }
            cost["single"] = [statistics.median(series) for series in single.run(effort.turn, effort.least)]
            ghz = toolbox.core_ghz()
            for (pipe, expect, _), pair, loss in zip(mixes, rows, losses, strict=True):
                times = [statistics.median(series) for series in pipe.run(2 * effort.turn, effort.least)]
                for way, expected in enumerate(expect(cost)):
                    pair[way].rounds.append(times[way])
                    pair[way].ghz.append(ghz)
                    loss[way].rounds.append(times[way] / expected - 1)
        outcome.results += [row for pair in rows for row in pair]
        outcome.overheads += [loss for pair in losses for loss in pair]
    return outcome


def plan(transforms: Sequence[str], *, quick: bool) -> list[Traffic]:
    """What is measured in which order."""
    found = []
    for name in transforms:
        sizes: tuple[Size, ...] = (64, 1400, "imix") if quick else (64, 256, 1400, "imix")
        found += [Traffic(name, (name,), size) for size in sizes]
    for name in transforms[:1] if quick else transforms[:2]:
        found += [
            Traffic(name, (name,), size, batch) for size in ((1400,) if quick else (1400, "imix")) for batch in (1, 8, 32)
        ]
    for name in transforms[:1] if quick else transforms[:2]:
        found += [Traffic(f"{name}+mppe128", (name,), size, mppe=True) for size in ((1400,) if quick else (64, 1400, "imix"))]
    return found
