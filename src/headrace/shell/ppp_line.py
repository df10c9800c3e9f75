"""``headrace ppp``: a link over a line of its own, as server or as client, with the same core, data plane and TUN as the gateway.

The way of an octet, in the order in which it is walked:

1. the line becomes readable: its octets become frames (HDLC), frames become IP packets for the TUN, or words for the link
2. the TUN becomes readable: packets become frames, frames become octets; when the line is full the TUN is not read
3. ``_flush``: events of the link are delivered, its frames are sent, the one timer is re-armed from ``deadline()``
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Any, Final

from headrace.dataplane.batch import Batch
from headrace.dataplane.hdlc import HdlcLine
from headrace.dataplane.native import lib
from headrace.dataplane.tables import DataPlane, PeerConfig, SessionConfig
from headrace.errors import Slug
from headrace.model import Compression, Encryption, Endpoint, Failure, MppePolicy
from headrace.ppp import events
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject, ClientCredentials, LinkConfig
from headrace.ppp.frame import Frame, Proto
from headrace.ppp.link import Link
from headrace.ppp.network import is_required
from headrace.shell.build import VJ_SLOTS, compression_here
from headrace.shell.client import EXIT_OK, EXIT_REFUSED, PING_TRIALS, CallFailed
from headrace.shell.line import Line, open_line
from headrace.shell.ping import PingResult, ping
from headrace.shell.tun import MIN_MTU, Tun
from headrace.stack.ladder import both_ways, modes
from headrace.stack.mtu import MPPE

if TYPE_CHECKING:
    from headrace.access.authenticate import Authenticator

_PATIENT: Final = 10 * 365 * 86400.0
"""Seconds that a server waits for the first word of whoever comes."""
_QUEUE: Final = 128 << 10
"""Octets that may wait for the line before the TUN is read no more."""
_READS: Final = 64
"""Packets taken from the TUN before the loop looks at the line again."""
_HANGUP_TIMEOUT: Final = 3.0
_LOCALHOST: Final = ip_address("127.0.0.1")


@dataclass(frozen=True, slots=True)
class LineConfig:
    """What ``headrace ppp`` is told."""

    line: str
    """``/dev/...``, ``unix:PATH`` or ``pty``."""
    server: bool = False
    speed: int = 115200
    flow_control: bool = False
    user: str = ""
    """Client: who we are."""
    password: str = field(default="", repr=False)
    auth: tuple[AuthMethod, ...] = (AuthMethod.MSCHAP_V2,)
    """Server: demanded, the most wanted first; empty is nobody. Client: accepted."""
    encryption: Encryption = Encryption.OPTIONAL
    prefer_mppe: bool = False
    mppe_bits: tuple[int, ...] = (128,)
    mppe_stateless: bool = True
    compression: tuple[Compression, ...] = ()
    header_compression: bool = True
    local_address: IPv4Address | None = None
    remote_address: IPv4Address | None = None
    """Server: what the peer is given, unless its account has an address."""
    dns: tuple[IPv4Address, ...] = ()
    accm: int = 0
    mtu: int = 1500
    tun_name: str = "headrace%d"
    name: str = "headrace"
    once: bool = False
    """Server: end with the first link."""
    timeout: float = 35.0
    ping: IPv4Address | None = None
    ping_count: int = 5
    json: bool = False


def link_config(config: LineConfig) -> LinkConfig:
    """The link's own configuration."""
    return LinkConfig(
        server=config.server,
        auth_methods=config.auth if config.server or config.user else (),
        encryption=config.encryption,
        mppe_bits=config.mppe_bits,
        mppe_stateless=config.mppe_stateless,
        prefer_mppe=config.prefer_mppe,
        compression=compression_here(config.compression),
        vj_slots=VJ_SLOTS if config.header_compression else 0,
        accm=config.accm,
        name=config.name,
        credentials=ClientCredentials(config.user, config.password) if config.user and not config.server else None,
        mru=config.mtu,
        max_send_mru=config.mtu,
        local_address=config.local_address,
        peer_address=config.remote_address,
        want_dns=bool(config.dns) or not config.server,
        passive_start=_PATIENT if config.server else 0.0,
    )


class PppLine:
    """One line with its TUN, for one link after another."""

    def __init__(
        self, config: LineConfig, line: Line, tun: Tun, plane: DataPlane, authenticator: Authenticator | None, say: Say
    ) -> None:
        self.config = config
        self.failure: Failure | None = None
        """Why the link has ended."""
        self.hung_up = False
        """The line itself is gone: there will be no other link on it."""
        self.up = asyncio.Event()
        self.over = asyncio.Event()
        self.local: IPv4Address | None = None
        self.mtu = config.mtu
        self.device = tun.name
        self.last: dict[str, Any] = {}
        """The last word on the link, when its session is gone."""
        self._line = line
        self._tun = tun
        self._plane = plane
        self._authenticator = authenticator
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._hdlc = HdlcLine()
        self._batch = Batch(_READS, slot=4096)
        self._out = bytearray()
        self._reading_tun = False
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._link = Link(link_config(config), secrets.token_bytes)
        # The data plane's session needs a peer and ids that nobody will ever see.
        peer = plane.add_peer(PeerConfig(Endpoint(_LOCALHOST, 1), clear=True))
        self._entry = SessionConfig(
            peer,
            1,
            1,
            1,
            1,
            mppe_policy=_policy(config.encryption),
            default_route=True,
            send_mru=config.mtu,
            recv_mru=config.mtu,
        )
        self._session = plane.add_session(self._entry)
        self._peer = peer
        self._mppe = self._compression = ""
        self._vj = False

    def start(self) -> None:
        """Begin: read the line, and speak first unless we are a server."""
        self._loop.add_reader(self._line.fd, self._read_line)
        self._link.open(self._loop.time())
        self._flush()

    def stop(self) -> None:
        """Read and write no more, and forget the session."""
        self._loop.remove_reader(self._line.fd)
        self._loop.remove_writer(self._line.fd)
        self._stop_tun()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self.last = self.state
        self._plane.remove_peer(self._peer)

    def close(self, failure: Failure) -> None:
        """End the link politely."""
        self._link.close(failure, self._loop.time())
        self._flush()

    @property
    def state(self) -> dict[str, Any]:
        """What the link has agreed on, for a person or a machine."""
        stats = self._plane.session_stats(self._session)
        return {
            "line": self._line.where,
            "device": self._tun.name,
            "mppe": self._mppe,
            "compression": ", ".join(filter(None, (self._compression, "vj" if self._vj else ""))),
            "mtu": self.mtu,
            "rx_packets": stats.rx_packets,
            "tx_packets": stats.tx_packets,
            "rx_bytes": stats.rx_bytes,
            "tx_bytes": stats.tx_bytes,
            "frames": self._hdlc.stats(),
            "drops": {name: packets for name, (packets, _) in self._plane.counters().items() if packets and "drop" in name},
        }

    # --- in -----------------------------------------------------------------------------------------------------------------

    def _read_line(self) -> None:
        octets = self._line.read()
        if octets is None:
            self.hung_up = True
            self._loop.remove_reader(self._line.fd)
            self._end(Failure(Slug.PEER_CLOSED, f"{self._line.where} has hung up"))
            return
        while octets:
            taken = self._hdlc.decode(octets, self._session)
            octets = octets[taken:]
            if len(self._hdlc.batch):
                self._plane.line_decap(self._hdlc.batch, time.monotonic_ns())
                self._take(self._hdlc.batch)
            elif not taken:
                break
        self._flush()

    def _take(self, batch: Batch) -> None:
        now = self._loop.time()
        for number, status in enumerate(batch.statuses()):
            if status == "ok":
                self._tun.write(batch.packet(number))
            elif status == "exc_ppp":
                self._link.receive(batch.packet(number), now)
        if "ok" in batch.statuses():
            self._link.saw_data(now)
        for event in self._plane.events():
            if event.what == "exc_mppe_reset":
                self._link.mppe_lost(now)

    def _read_tun(self) -> None:
        packets = []
        for _ in range(_READS):
            try:
                packets.append(os.read(self._tun.fds[0], 65536))
            except BlockingIOError:
                break
        packets = [packet for packet in packets if len(packet) <= self._tun.mtu]
        if packets:
            self._batch.load(packets, lib.HR_KIND_IP, session=self._session)
            self._send_batch()
        if len(self._out) > _QUEUE:
            self._stop_tun()

    # --- out ----------------------------------------------------------------------------------------------------------------

    def _send_batch(self, *, escape_all: bool = False) -> None:
        self._plane.line_encap(self._batch, time.monotonic_ns())
        good = [packet for status, packet in zip(self._batch.statuses(), self._batch.packets(), strict=True) if status == "ok"]
        if good:
            self._write(self._hdlc.encode(good, escape_all=escape_all))

    def _write(self, octets: bytes) -> None:
        self._out += octets
        self._drain()

    def _drain(self) -> None:
        sent = self._line.write(bytes(self._out)) if self._out else 0
        del self._out[:sent]
        if self._out:
            self._loop.add_writer(self._line.fd, self._drain)
            return
        self._loop.remove_writer(self._line.fd)
        self._hdlc.idle()
        if self.up.is_set():
            self._start_tun()

    def _start_tun(self) -> None:
        if not self._reading_tun and not self.over.is_set():
            self._reading_tun = True
            self._loop.add_reader(self._tun.fds[0], self._read_tun)

    def _stop_tun(self) -> None:
        if self._reading_tun:
            self._reading_tun = False
            self._loop.remove_reader(self._tun.fds[0])

    def _flush(self) -> None:
        while True:
            happened = self._link.poll_events()
            ending = [event for event in happened if isinstance(event, events.LinkDown)]
            for event in happened:
                if not isinstance(event, events.LinkDown):
                    self._on_event(event)
            for frame in self._link.poll_frames():
                # LCP is for a peer that may have forgotten what was agreed (RFC 1662 section 7.1).
                self._batch.load([frame], lib.HR_KIND_PPP, session=self._session)
                self._send_batch(escape_all=Frame.parse(frame).protocol == Proto.LCP)
            for event in ending:
                self._end(event.failure)
            if not happened:
                break
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._link.deadline()
        if deadline is not None and not self.over.is_set():
            self._timer = self._loop.call_at(min(deadline, self._loop.time() + 3600), self._tick)

    def _tick(self) -> None:
        self._timer = None
        deadline = self._link.deadline()
        now = self._loop.time()
        # The loop may fire a timer a clock tick early; a core that is asked too soon would only ask again.
        if deadline is not None and now + 0.001 >= deadline:
            self._link.tick(max(now, deadline))
        self._flush()

    def _end(self, failure: Failure) -> None:
        self._stop_tun()
        self.failure = self.failure or failure
        self.over.set()

    # --- what the link tells ------------------------------------------------------------------------------------------------

    def _update(self, **changes: Any) -> None:
        self._entry = replace(self._entry, **changes)
        self._plane.update_session(self._session, self._entry)

    def _size(self) -> None:
        wrapped = bool(self._mppe) or Compression.MPPC in self._compression
        self.mtu = max(MIN_MTU, min(self._entry.send_mru - (MPPE if wrapped else 0), self.config.mtu))

    def _on_event(self, event: events.PppEvent) -> None:
        match event:
            case events.LcpUp():
                self._hdlc.maps(send=event.send_accm, receive=self.config.accm)
                self._update(send_acfc=event.send_acfc, send_pfc=event.send_pfc, send_mru=event.send_mru)
                self._size()
            case events.AuthRequest():
                task = self._loop.create_task(self._judge(event))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case events.EncryptionDecided():
                if event.required:
                    self._update(mppe_policy=MppePolicy.REQUIRED)
            case events.MppeUp():
                self._plane.set_mppe(self._session, event.receive)
                self._plane.set_mppe(self._session, event.send)
                self._mppe = f"{event.send.bits}-bit {modes(event)}"
                self._compression = "mppc" if event.send.mppc or event.receive.mppc else ""
                self._size()
            case events.CompressionUp():
                for outbound, compressor in ((False, event.receive), (True, event.send)):
                    if compressor is not None:
                        self._plane.set_compression(self._session, compressor, outbound=outbound)
                self._compression = both_ways(*(c.method.value if c else "" for c in (event.receive, event.send)))
                self._size()
            case events.MppeDown():
                for outbound in (False, True):
                    self._plane.close_mppe(self._session, outbound=outbound)
                self._mppe = self._compression = ""
                self._size()
            case events.MppeFlush():
                self._plane.flush_mppe(self._session)
            case events.Ipv4Up():
                self._vj = bool(event.vj.send or event.vj.receive)
                self._plane.set_vj(self._session, event.vj)
                self._update(open4=True)
                self.local = event.local
                task = self._loop.create_task(self._configure(event))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case events.Ipv4Down():
                self._update(open4=False)
            case _:
                pass

    async def _configure(self, event: events.Ipv4Up) -> None:
        await asyncio.to_thread(self._tun.configure, address=event.local, peer=event.remote, mtu=self.mtu)
        self._say(
            f"connected: {event.local} to {event.remote}, mppe {self._mppe or 'none'}, "
            f"compression {self.state['compression'] or 'none'}, mtu {self.mtu}",
            event="connected",
            address=str(event.local),
            peer=str(event.remote),
            user=self._link.peer_name,
            **self.state,
        )
        self.up.set()
        self._start_tun()

    async def _judge(self, request: events.AuthRequest) -> None:
        result: Any = AuthReject(Slug.USER_UNKNOWN, "there are no accounts here")
        if self._authenticator is not None:
            # Password hashing takes milliseconds by design: in a thread, or the line would wait for it.
            result = await asyncio.to_thread(self._authenticator.check, request, _LOCALHOST, "line")
        if isinstance(result, AuthAccept):
            result = replace(result, address=result.address or self.config.remote_address, dns=result.dns or self.config.dns)
        elif isinstance(result, AuthReject) and result.delay:
            await asyncio.sleep(result.delay)
        self._link.auth_result(request.request, result, self._loop.time())
        self._flush()


def _policy(encryption: Encryption) -> MppePolicy:
    if encryption is Encryption.OFF:
        return MppePolicy.NEVER
    return MppePolicy.REQUIRED if is_required(encryption) else MppePolicy.WHEN_OPEN


class Say:
    """One line of progress: for a person on stderr, or JSON on stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json

    def __call__(self, text: str, **data: Any) -> None:
        """Say it."""
        if self._json:
            print(json.dumps({"time": round(time.time(), 3), **data}), flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


async def serve_line(config: LineConfig, authenticator: Authenticator | None) -> int:
    """Run links over the line until told to stop: one as a client, one after another as a server. The exit code.

    Raises ``LineError``, ``TunError`` or ``OSError`` when this machine does not give what is needed.
    """
    loop = asyncio.get_running_loop()
    hangup = asyncio.Event()
    say = Say(as_json=config.json)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, hangup.set)
    with ExitStack() as resources:
        line = resources.enter_context(open_line(config.line, speed=config.speed, flow_control=config.flow_control))
        # Netlink is spoken in a thread: pyroute2 runs a loop of its own, of which there can be one a thread.
        tun = resources.enter_context(await asyncio.to_thread(Tun, config.tun_name, queues=1, mtu=config.mtu, offload=False))
        plane = resources.enter_context(DataPlane(max_peers=1, max_sas=1, max_sessions=1, allow_clear_l2tp=True))
        say(f"{'serving' if config.server else 'calling on'} {line.where}", event="line", line=line.where, device=tun.name)
        while True:
            link = PppLine(config, line, tun, plane, authenticator, say)
            link.start()
            try:
                answered = await _live(link, hangup, say)
            finally:
                link.stop()
            failure = link.failure
            say(f"ended: {failure}", event="ended", slug=str(failure.slug if failure else ""), **link.last)
            if authenticator is not None:
                authenticator.ended("line")
            if hangup.is_set() or config.once or link.hung_up or not config.server:
                break
    if hangup.is_set():
        return EXIT_OK
    if config.ping is not None and answered is not None and answered.received == answered.sent:
        return EXIT_OK
    if config.server and link.up.is_set():
        return EXIT_OK
    complaint = CallFailed(link.failure or Failure(Slug.LCP_TIMEOUT), config.line)
    if config.json:
        print(json.dumps(complaint.json()), flush=True)
    print(complaint.line(), file=sys.stderr, flush=True)
    return EXIT_REFUSED


async def _live(link: PppLine, hangup: asyncio.Event, say: Say) -> PingResult | None:
    """From the first octet to the end of the link; what its pings came to."""
    config = link.config
    limit = None if config.server else config.timeout
    if not await _first(link.up, link.over, hangup, within=limit) and link.failure is None:
        link.failure = Failure(Slug.LCP_TIMEOUT, f"{config.line}: the link was not up within {config.timeout:g} s")
    result = None
    if link.up.is_set() and not hangup.is_set():
        if config.ping is not None and link.local is not None:
            # The peer may have agreed to the addresses before its interface has them.
            for _ in range(PING_TRIALS):
                if (await ping(link.local, config.ping, count=1, timeout=1.0, device=link.device)).received:
                    break
            result = await ping(link.local, config.ping, count=config.ping_count, timeout=5.0, device=link.device)
            text = f"ping {config.ping}: {result.received} of {result.sent} answered"
            say(text, event="ping", sent=result.sent, received=result.received, times=list(result.times))
        else:
            await _first(link.over, hangup)
    if not link.over.is_set():
        link.close(Failure(Slug.USER_REQUEST, "hung up"))
        await _first(link.over, within=_HANGUP_TIMEOUT)
    return result


async def _first(*things: asyncio.Event, within: float | None = None) -> bool:
    """Wait until one of them is set. False if the time is over before."""
    tasks = [asyncio.ensure_future(thing.wait()) for thing in things]
    done, pending = await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*pending, return_exceptions=True)
    return bool(done)


def run(config: LineConfig, authenticator: Authenticator | None = None) -> int:
    """Blocking face of ``serve_line``."""
    return asyncio.run(serve_line(config, authenticator))
