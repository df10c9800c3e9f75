"""A gateway and a client stack wired back to back: a data plane that only routes, a network with seeded faults, a clock that is told."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from headrace.errors import LocalError, Slug
from headrace.esp.proposal import parse_list as parse_esp_proposals
from headrace.ike.config import IkeConfig
from headrace.ike.endpoint import IkeEndpoint
from headrace.ike.proposal import parse_list as parse_ike_proposals
from headrace.l2tp.config import L2tpConfig
from headrace.model import Compressor, Datagram, Encryption, Endpoint, EspKeys, Failure, MppeKeys, VjSlots
from headrace.ppp import mppe
from headrace.ppp import mschap_crypto as mschap
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject, ClientCredentials, LinkConfig
from headrace.ppp.events import AuthRequest
from headrace.stack import events
from headrace.stack.events import StackEvent
from headrace.stack.ids import TunnelIds
from headrace.stack.lac import Lac
from headrace.stack.ladder import Ladder, LadderConfig
from headrace.stack.lns import Lns
from headrace.stack.tables import PeerEntry, SessionEntry, TableFull

GATEWAY = Endpoint.of("192.0.2.1", 500)
INNER = IPv4Address("10.99.0.1")
PSK = b"a pre-shared key for tests"


class FakeTables:
    """The data plane's tables as dictionaries, with the rules that matter to the control plane."""

    def __init__(self, *, max_peers: int = 1000, max_sessions: int = 1000) -> None:
        self.peers: dict[int, PeerEntry] = {}
        self.sas: dict[int, tuple[int, EspKeys]] = {}
        self.out: dict[int, int] = {}
        self.sessions: dict[int, SessionEntry] = {}
        self.mppe: dict[tuple[int, bool], MppeKeys] = {}
        self.compressors: dict[int, tuple[Compressor | None, Compressor | None]] = {}
        self.vj: dict[int, VjSlots] = {}
        self.flushed: list[int] = []
        self.carried: dict[int, tuple[int, int]] = {}
        self.octets: dict[int, tuple[int, int]] = {}
        self._max_peers = max_peers
        self._max_sessions = max_sessions
        self._index = itertools.count(10)

    def add_peer(self, entry: PeerEntry) -> int:
        if len(self.peers) >= self._max_peers:
            raise TableFull("peers")
        index = next(self._index)
        self.peers[index] = entry
        return index

    def update_peer(self, index: int, entry: PeerEntry) -> None:
        assert index in self.peers
        self.peers[index] = entry

    def remove_peer(self, index: int) -> None:
        del self.peers[index]
        self.out.pop(index, None)
        self.sas = {i: (p, k) for i, (p, k) in self.sas.items() if p != index}
        self.sessions = {i: s for i, s in self.sessions.items() if s.peer != index}

    def add_sa(self, peer: int, keys: EspKeys) -> int:
        assert peer in self.peers
        index = next(self._index)
        if not keys.outbound and any(k.spi == keys.spi and not k.outbound for _, k in self.sas.values()):
            raise LocalError("SPI in use")
        self.sas[index] = (peer, keys)
        return index

    def use_sa(self, index: int) -> None:
        peer, keys = self.sas[index]
        assert keys.outbound
        self.out[peer] = index

    def remove_sa(self, index: int) -> None:
        peer, _ = self.sas.pop(index)
        if self.out.get(peer) == index:
            del self.out[peer]

    def add_session(self, entry: SessionEntry) -> int:
        if len(self.sessions) >= self._max_sessions:
            raise TableFull("sessions")
        assert entry.peer in self.peers
        index = next(self._index)
        self.sessions[index] = entry
        return index

    def update_session(self, index: int, entry: SessionEntry) -> None:
        assert index in self.sessions
        self.sessions[index] = entry

    def set_mppe(self, index: int, keys: MppeKeys) -> None:
        assert index in self.sessions
        self.mppe[index, keys.outbound] = keys

    def set_compression(self, index: int, send: Compressor | None, receive: Compressor | None) -> None:
        assert index in self.sessions
        self.compressors[index] = (send, receive)

    def set_vj(self, index: int, slots: VjSlots) -> None:
        assert index in self.sessions
        self.vj[index] = slots

    def close_mppe(self, index: int) -> None:
        self.compressors.pop(index, None)
        self.mppe.pop((index, True), None)
        self.mppe.pop((index, False), None)

    def flush_mppe(self, index: int) -> None:
        self.flushed.append(index)

    def remove_session(self, index: int) -> None:
        if index not in self.sessions:
            raise LocalError("no such session")
        del self.sessions[index]
        self.close_mppe(index)

    def sa_packets(self, index: int) -> int:
        assert index in self.sas
        return 0

    def session_packets(self, index: int) -> tuple[int, int]:
        assert index in self.sessions
        return self.carried.get(index, (0, 0))

    def session_octets(self, index: int) -> tuple[int, int]:
        assert index in self.sessions
        return self.octets.get(index, (0, 0))


@dataclass
class Faults:
    """What the network does to a packet, each with its probability."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.01


@dataclass
class Side:
    """One stack with its tables and what it said."""

    name: str
    ladder: Ladder
    tables: FakeTables
    addresses: set[str]
    events: list[StackEvent] = field(default_factory=list)
    judge: Callable[[AuthRequest], AuthAccept | AuthReject] | None = None
    taps: list[tuple[str, bytes]] = field(default_factory=list)
    """Ethernet frames that it sent, with the name of the TAP."""

    def of(self, kind: type[StackEvent]) -> list[StackEvent]:
        return [e for e in self.events if isinstance(e, kind)]


class World:
    """A gateway and any number of clients on one network."""

    def __init__(self, seed: int = 1, faults: Faults | None = None) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.faults = faults or Faults()
        self.now = 1000.0
        self.sides: list[Side] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self.translate: Callable[[Datagram], Datagram | None] = lambda d: d

    def rand(self) -> Callable[[int], bytes]:
        return random.Random(self.random.getrandbits(64)).randbytes

    def gateway(
        self,
        *,
        link: LinkConfig | None = None,
        users: dict[str, str] | None = None,
        ike: IkeConfig | None = None,
        **settings: object,
    ) -> Side:
        tables = FakeTables()
        config = LadderConfig(
            l2tp=L2tpConfig(host_name="gateway"),
            link=link or LinkConfig(server=True, local_address=INNER),
            **settings,  # type: ignore[arg-type]
        )
        rand = self.rand()
        ladder = Lns(IkeEndpoint(ike or ike_config(), rand), tables, config, TunnelIds(rand).allocator(), rand)
        side = Side("gateway", ladder, tables, {"192.0.2.1"}, judge=judge_by(users or {"alice": "wonderland"}))
        self.sides.append(side)
        return side

    def client(
        self,
        address: str = "192.0.2.2",
        *,
        user: str = "alice",
        password: str = "wonderland",
        ike: IkeConfig | None = None,
        link: LinkConfig | None = None,
        l2tp: L2tpConfig | None = None,
    ) -> Side:
        tables = FakeTables()
        rand = self.rand()
        link = replace(link or LinkConfig(server=False), credentials=ClientCredentials(user, password))
        config = LadderConfig(l2tp=l2tp or L2tpConfig(host_name="client", accept_incoming=False), link=link)
        ladder = Lac(IkeEndpoint(ike or ike_config(), rand), tables, config, TunnelIds(rand).allocator(), rand)
        side = Side("client", ladder, tables, {address})
        self.sides.append(side)
        return side

    def dial(self, client: Side) -> None:
        assert isinstance(client.ladder, Lac)
        client.ladder.dial(Endpoint.of(next(iter(client.addresses)), 500), GATEWAY, self.now)
        self.pump(client)

    # --- the network -------------------------------------------------------------------------------------------------------

    def _send(self, deliver: Callable[[], None]) -> None:
        faults = self.faults
        if self.random.random() < faults.loss:
            return
        for _ in range(2 if self.random.random() < faults.duplicate else 1):
            late = faults.delay * (1 + (self.random.random() * 20 if self.random.random() < faults.reorder else 0))
            self._queue.append((self.now + late, next(self._serial), deliver))

    def pump(self, side: Side) -> None:
        """What the driver does: events, then what is pending."""
        while True:
            happened = side.ladder.poll_events()
            for event in happened:
                side.events.append(event)
                if isinstance(event, events.AuthNeeded) and side.judge is not None:
                    result = side.judge(event.request)
                    side.ladder.auth_result(event.session.handle, event.request.request, result, self.now)
            for datagram in side.ladder.poll_datagrams():
                self._route(side, datagram)
            for packet in side.ladder.poll_packets():
                self._packet(side, packet)
            if not happened:
                return

    def _route(self, sender: Side, datagram: Datagram) -> None:
        translated = self.translate(datagram)
        if translated is None:
            return
        for side in self.sides:
            if str(translated.remote.address) in side.addresses:
                flipped = Datagram(translated.remote, translated.local, translated.data)

                def deliver(side: Side = side, flipped: Datagram = flipped) -> None:
                    side.ladder.ike_datagram(flipped, self.now)
                    self.pump(side)

                self._send(deliver)

    def _packet(self, sender: Side, packet: events.Packet) -> None:
        tables = sender.tables
        match packet:
            case events.ReleaseSession():
                if packet.session in tables.sessions:
                    tables.remove_session(packet.session)
                return
            case events.ReleasePeer():
                tables.remove_peer(packet.peer)
                return
            case events.TapFrame():
                sender.taps.append((packet.tap, packet.data))
                return
            case events.L2tpPacket():
                peer = packet.peer
            case events.PppPacket():
                if packet.session not in tables.sessions:
                    raise AssertionError(f"{sender.name}: frame for a session that is not in the tables")
                peer = tables.sessions[packet.session].peer
        if peer not in tables.out:
            return  # no SA: dropped and counted by the real one
        spi = tables.sas[tables.out[peer]][1].spi

        def deliver() -> None:
            for side in self.sides:
                for their_peer, keys in side.tables.sas.values():
                    if side is not sender and keys.spi == spi and not keys.outbound:
                        self._arrive(side, their_peer, packet, tables)
                        self.pump(side)
                        return

        self._send(deliver)

    def _arrive(self, side: Side, peer: int, packet: events.Packet, tables: FakeTables) -> None:
        if isinstance(packet, events.L2tpPacket):
            side.ladder.l2tp_control(peer, packet.data, packet.remote_port, packet.local_port, self.now)
            return
        assert isinstance(packet, events.PppPacket)
        entry = tables.sessions.get(packet.session)
        if entry is None:
            return
        for index, theirs in list(side.tables.sessions.items()):
            if (theirs.local_tunnel, theirs.local_session) == (
                entry.remote_tunnel,
                entry.remote_session,
            ) and theirs.peer == peer:
                side.ladder.ppp_frame(index, packet.data, self.now)
                return

    # --- the clock -----------------------------------------------------------------------------------------------------------

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, event by event. True when ``until`` came true."""
        end = self.now + seconds
        for _ in range(200_000):
            if until is not None and until():
                return True
            times = [when for when, _, _ in self._queue]
            times += [d for side in self.sides if (d := side.ladder.deadline()) is not None]
            upcoming = min(times, default=None)
            if upcoming is None or upcoming > end:
                self.now = end
                return until is not None and until()
            self.now = max(self.now, upcoming)
            due = sorted(item for item in self._queue if item[0] <= self.now)
            self._queue = [item for item in self._queue if item[0] > self.now]
            for _, _, deliver in due:
                deliver()
            for side in self.sides:
                deadline = side.ladder.deadline()
                if deadline is not None and deadline <= self.now:
                    side.ladder.tick(self.now)
                    self.pump(side)
        raise AssertionError(f"seed {self.seed}: no end of events at {self.now}")


def ike_config(**changes: object) -> IkeConfig:
    config = IkeConfig(
        proposals=parse_ike_proposals("aes128-sha256-ecp256"),
        esp_proposals=parse_esp_proposals("aes128-sha256"),
        psk_for=lambda _: PSK,
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def judge_by(users: dict[str, str]) -> Callable[[AuthRequest], AuthAccept | AuthReject]:
    """An account store of a few lines: MS-CHAPv2 only, addresses by turn."""
    hosts = itertools.count(10)

    def judge(request: AuthRequest) -> AuthAccept | AuthReject:
        name = request.username.decode()
        assert request.method is AuthMethod.MSCHAP_V2
        if name not in users:
            return AuthReject(Slug.USER_UNKNOWN)
        nt_hash = mschap.nt_password_hash(users[name])
        peer_challenge, nt_response = request.response[:16], request.response[24:48]
        challenge8 = mschap.challenge_hash(peer_challenge, request.challenge, name.encode())
        if mschap.nt_response(nt_hash, challenge8) != nt_response:
            return AuthReject(Slug.AUTH_FAILED, "the proof is wrong")
        send, receive = mppe.start_keys(nt_hash, nt_response, server=True)
        proof = mschap.authenticator_response(nt_hash, nt_response, challenge8)
        return AuthAccept(
            name,
            address=INNER + next(hosts),
            mschap_success=proof.encode() if isinstance(proof, str) else proof,
            mppe_send_key=send,
            mppe_recv_key=receive,
        )

    return judge


def failures(side: Side) -> list[Failure]:
    """Every failure that a side reported."""
    return [e.failure for e in side.events if isinstance(e, events.Refused | events.SessionDown | events.PeerDown)]


__all__ = ["Encryption", "FakeTables", "Faults", "World", "failures", "ike_config"]
