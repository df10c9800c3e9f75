"""One call by the client's own stack, over ordinary sockets, watched: what was said on the wire is read again with the session's key."""

from __future__ import annotations

import secrets
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import Final

from headrace.errors import Slug
from headrace.ike.config import IkeConfig
from headrace.ike.endpoint import IkeEndpoint
from headrace.inspect import ip as ips
from headrace.inspect.isakmp import IkeDecoder, Negotiation
from headrace.inspect.keys import Keys
from headrace.l2tp.config import L2tpConfig
from headrace.model import Datagram, Endpoint, Failure, IPAddress, Rung
from headrace.ppp.config import LinkConfig
from headrace.ppp.frame import Frame, Proto
from headrace.stack import events
from headrace.stack.ids import TunnelIds
from headrace.stack.lac import Lac
from headrace.stack.ladder import LadderConfig
from headrace.troubleshoot.plane import PEER, SoftPlane
from headrace.wire import Malformed

MARKER: Final = bytes(4)
_WIRE_MAX: Final = 256
_STEP: Final = 0.2
_GOODBYE: Final = 2.0
"""Seconds for the way down."""
_PING_WAIT: Final = 1.5
PING_SIZES: Final = (64, 576, 1280)


@dataclass(slots=True)
class Outcome:
    """How the call went."""

    peer: events.PeerRecord | None = None
    session: events.SessionRecord | None = None
    failure: Failure | None = None
    stopped_at: Rung | None = None
    """Where it was ended on purpose, for what comes next needs something that was not given."""
    negotiation: Negotiation | None = None
    """Main mode as it was on the wire."""
    pings: dict[int, bool] = field(default_factory=dict)
    """Octets of an inner packet to whether it came back."""
    mppe: bool = False
    sent: int = 0
    natt_heard: bool = False
    """Anything came from the server's port of NAT traversal."""


class WatchedCall:
    """Dials once."""

    def __init__(
        self, ike: IkeConfig, l2tp: L2tpConfig, link: LinkConfig, *, local: IPAddress, remote: Endpoint, natt_port: int
    ) -> None:
        family = socket.AF_INET if local.version == 4 else socket.AF_INET6
        self._sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(2)]
        for sock in self._sockets:
            sock.bind((str(local), 0))
            sock.setblocking(False)
        ike_port, self._natt_port = (sock.getsockname()[1] for sock in self._sockets)
        self._local, self._remote = Endpoint(local, ike_port), remote
        self._plane = SoftPlane()
        self._wire: list[tuple[Endpoint, Endpoint, bytes]] = []
        self._keys = Keys()
        self.outcome = Outcome()
        endpoint = IkeEndpoint(
            ike, secrets.token_bytes, ike_port=ike_port, natt_port=self._natt_port, remote_natt_port=natt_port
        )
        config = LadderConfig(l2tp=l2tp, link=link, max_sessions=1, keylog=True)
        self._ladder = Lac(endpoint, self._plane, config, TunnelIds(secrets.token_bytes).allocator(), secrets.token_bytes)
        self._pongs: set[int] = set()

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets:
            sock.close()

    def run(self, timeout: float, *, stop_after: Rung | None, progress: Callable[[events.StackEvent], None]) -> Outcome:
        """Dial, until it is up, broken, out of time, or past the rung where it is to stop; then hang up."""
        ladder, outcome = self._ladder, self.outcome
        ladder.dial(self._local, self._remote, time.monotonic())
        until = time.monotonic() + timeout
        up = False
        while not up and ladder.outcome is None and time.monotonic() < until:
            for event in self._turn(until):
                progress(event)
                up = up or isinstance(event, events.SessionUp)
            if stop_after is not None and self._passed(stop_after):
                outcome.stopped_at = stop_after
                break
        if up:
            self._ping()
        outcome.failure = ladder.outcome
        ladder.close_all(Failure(Slug.USER_REQUEST), time.monotonic())
        end = time.monotonic() + _GOODBYE
        while not ladder.finished and time.monotonic() < end:
            self._turn(end)
        outcome.mppe = outcome.mppe or self._plane.mppe
        outcome.negotiation = self._reread()
        return outcome

    def _passed(self, rung: Rung) -> bool:
        session, peer = self.outcome.session, self.outcome.peer
        return bool((session and rung in session.rungs) or (peer and rung in peer.rungs))

    # --- the loop ------------------------------------------------------------------------------------------------------------------

    def _turn(self, until: float) -> list[events.StackEvent]:
        happened = self._flush()
        deadline = self._ladder.deadline()
        now = time.monotonic()
        wait = min(until - now, _STEP, max(0.0, deadline - now) if deadline is not None else _STEP)
        readable, _, _ = select.select(self._sockets, [], [], max(0.0, wait))
        for sock in readable:
            self._read(sock)
        self._ladder.tick(time.monotonic())
        return [*happened, *self._flush()]

    def _flush(self) -> list[events.StackEvent]:
        ladder = self._ladder
        happened = ladder.poll_events()
        for event in happened:
            if isinstance(event, events.IkeKey):
                self._keys.ike[event.initiator_cookie] = event.key
        peers, sessions = ladder.peers(), ladder.sessions()
        self.outcome.peer = peers[0] if peers else self.outcome.peer
        self.outcome.session = sessions[0] if sessions else self.outcome.session
        for datagram in ladder.poll_datagrams():
            natt = datagram.local.port == self._natt_port
            self._note(datagram.local, datagram.remote, datagram.data)
            self._send(self._sockets[natt], (MARKER if natt else b"") + datagram.data, datagram.remote)
        for packet in ladder.poll_packets():
            data = None
            if isinstance(packet, events.L2tpPacket):
                data = self._plane.control(packet.data, packet.local_port, packet.remote_port)
            elif isinstance(packet, events.PppPacket):
                data = self._plane.frame(packet.session, packet.data)
            elif isinstance(packet, events.ReleaseSession):
                self._plane.remove_session(packet.session)
            elif isinstance(packet, events.ReleasePeer):
                self._plane.remove_peer(packet.peer)
            if data is not None and self._plane.peer is not None:
                self._send(self._sockets[1], data, self._plane.peer.remote)
        return happened

    def _send(self, sock: socket.socket, data: bytes, remote: Endpoint) -> None:
        try:
            sock.sendto(data, (str(remote.address), remote.port))
            self.outcome.sent += 1
        except OSError:
            return  # lost like any datagram: repetition is the cores' business

    def _note(self, source: Endpoint, destination: Endpoint, data: bytes) -> None:
        if len(self._wire) < _WIRE_MAX:
            self._wire.append((source, destination, data))

    def _read(self, sock: socket.socket) -> None:
        try:
            data, address = sock.recvfrom(65535)
        except OSError:
            return
        now = time.monotonic()
        remote = Endpoint(ip_address(address[0].partition("%")[0]), address[1])
        natt = sock is self._sockets[1]
        self.outcome.natt_heard = self.outcome.natt_heard or natt
        local = Endpoint(self._local.address, self._natt_port if natt else self._local.port)
        if natt and data[:4] != MARKER:
            self._esp(data, now)
            return
        data = data[4:] if natt else data
        self._note(remote, local, data)
        self._ladder.ike_datagram(Datagram(local, remote, data), now)

    def _esp(self, data: bytes, now: float) -> None:
        for inner in self._plane.open(data):
            if inner.control:
                self._ladder.l2tp_control(PEER, inner.data, inner.local_port, inner.remote_port, now)
                continue
            try:
                frame = Frame.parse(inner.data)
            except Malformed:
                continue
            if frame.protocol == Proto.IPV4:
                self._pongs.add(len(frame.information))
            elif frame.protocol not in {Proto.IPV6, Proto.COMPRESSED}:
                self._ladder.ppp_frame(inner.session, frame.emit(), now)

    # --- traffic -------------------------------------------------------------------------------------------------------------------

    def _ping(self) -> None:
        session = self.outcome.session
        if session is None or self._plane.mppe or session.local_address is None or session.remote_address is None:
            return
        sizes = sorted({*(size for size in PING_SIZES if size <= session.mtu), session.mtu})
        for size in sizes:
            self._pongs.discard(size)
            for _ in range(2):
                packet = echo(session.local_address, session.remote_address, size)
                data = self._plane.frame(session.index, b"\x00\x21" + packet)
                if data is not None and self._plane.peer is not None:
                    self._send(self._sockets[1], data, self._plane.peer.remote)
                end = time.monotonic() + _PING_WAIT
                while size not in self._pongs and time.monotonic() < end:
                    self._turn(end)
                if size in self._pongs:
                    break
            self.outcome.pings[size] = size in self._pongs

    # --- what was said ---------------------------------------------------------------------------------------------------------------

    def _reread(self) -> Negotiation | None:
        """Read the negotiation again, now that its key is known: vendor ids, NAT, identities, certificates."""
        decoder = IkeDecoder(self._keys)
        found: Negotiation | None = None
        for source, destination, data in self._wire:
            ends = (source.address.packed, source.port), (destination.address.packed, destination.port)
            try:
                message = decoder.decode(*ends, data, 0.0)
            except Malformed:
                continue
            found = found or message.negotiation
            if message.name == "main mode 3":
                found.nat.clear()  # our own hashes feign a NAT, so that ESP goes in UDP: what the server saw is in its answer
        return found


def echo(source: IPv4Address, destination: IPv4Address, size: int) -> bytes:
    """An ICMP echo request in an IPv4 packet of ``size`` octets with DF set."""
    body = bytearray(b"\x08\x00\x00\x00HR\x00\x01" + bytes(max(0, size - 28)))
    body[2:4] = ips.checksum(bytes(body)).to_bytes(2, "big")
    head = bytearray(b"\x45\x00" + (20 + len(body)).to_bytes(2, "big") + b"\x00\x00\x40\x00\x40\x01\x00\x00")
    head += source.packed + destination.packed
    head[10:12] = ips.checksum(bytes(head)).to_bytes(2, "big")
    return bytes(head + body)
