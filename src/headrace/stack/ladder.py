"""The way of a conversation, for both roles: IKE peer, its SAs, its tunnels, its sessions, its PPP links.

What comes in, in the order of the rungs:

1. ``ike_datagram``  -> IkeEndpoint -> PeerUp, InstallSa, ChildUp: peer and SA records go into the tables
2. ``l2tp_control``  -> L2tpPeer of that peer, for a tunnel belongs to the SA pair it came through -> SessionUp: a session record
3. ``ppp_frame``     -> Link of that session -> LcpUp, Authenticated, MppeUp, Ipv4Up: the session record is completed step by step
4. of what the link carries and the data plane does not forward: IPv6 that stays on the link -> IpRouter or IpHost of that session

and what ends, in the reverse order: LinkDown closes the call (CDN), the last call the tunnel (StopCCN), the last tunnel the peer
(Delete), unless the lower layer went first, which takes everything above with it at once.

The roles differ in a few hooks only: ``lns.py`` waits, asks who the user is and gives addresses; ``lac.py`` dials.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from itertools import count
from typing import TypeAlias

from headrace.core import Outbox, earliest
from headrace.errors import LocalError, Slug
from headrace.ike import events as ike_events
from headrace.ike.endpoint import IkeEndpoint
from headrace.ip6.host import IpHost
from headrace.ip6.router import IpRouter
from headrace.l2tp import events as l2tp_events
from headrace.l2tp.config import IdAllocator, L2tpConfig
from headrace.l2tp.peer import L2tpPeer
from headrace.model import (
    Auth,
    Cipher,
    Compression,
    Datagram,
    Encryption,
    Endpoint,
    Failure,
    MppePolicy,
    Rand,
    Rung,
    SessionLimits,
    VjSlots,
    printable,
)
from headrace.ppp import events as ppp_events
from headrace.ppp.config import AuthAccept, AuthReject, AuthResult, LinkConfig
from headrace.ppp.frame import Frame, Proto
from headrace.ppp.link import Link
from headrace.ppp.multilink import Terms
from headrace.stack import events
from headrace.stack.bundle import FORWARDED, Bundle, is_its_own, stays_on_link
from headrace.stack.bundle import Key as BundleKey
from headrace.stack.ethernet import EthernetConfig, Ethernets, ToTap
from headrace.stack.mtu import MPPE, TCP_IP4, TCP_IP6, inner_mtu
from headrace.stack.tables import PeerEntry, SessionEntry, TableFull, Tables
from headrace.stack.timers import Timers
from headrace.wire import Malformed

_ACTIVITY_INTERVAL = 10.0
"""Seconds between looks at the traffic counters of a peer: a third of the shortest liveness timer in use."""
_STOP_DELAY = 0.3
"""Seconds between StopCCN and the IKE Delete: the first needs the SA that the second removes."""

_HELD_FRAMES = 8
"""Frames that may overtake ICCN: a Configure-Request, an Identification, and their repetition."""

Key: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class LadderConfig:
    """What both roles need to know beyond the cores' own configurations."""

    l2tp: L2tpConfig
    link: LinkConfig
    path_mtu: int = 1500
    """Outer octets that fit without fragments."""
    max_sessions: int = 10000
    peer_linger: float = 20.0
    """Seconds that a peer without any session is kept."""
    l2tp_timeout: float = 40.0
    """Seconds from IPsec to the first session."""
    idle_timeout: float = 0.0
    """Seconds without an inner packet either way until a session is ended; 0 is off."""
    session_timeout: float = 0.0
    """Seconds that a session may last; 0 is off."""
    allow_clear: bool = False
    """L2TP without IPsec is served."""
    max_clear_peers: int = 256
    ip6: Ip6Config | None = None
    """Gateway: what clients are told of IPv6."""
    ethernet: EthernetConfig = field(default_factory=EthernetConfig)
    """IPX and bridged Ethernet."""
    mss_clamp: bool = True
    """Lower the MSS of TCP connections through a session to what fits it."""
    keylog: bool = False


@dataclass(frozen=True, slots=True)
class Ip6Config:
    """What is the same on the IPv6 links of all sessions."""

    duid: bytes
    """Who the gateway is in DHCPv6 (RFC 8415 section 11)."""
    dns: tuple[IPv6Address, ...] = ()
    delegated_length: int = 0
    """Length of the prefix that a client may have delegated; 0: none. What is granted to a session is one bit shorter."""


@dataclass(slots=True)
class Session:
    """One PPP session and its place in the tables."""

    record: events.SessionRecord
    link: Link
    entry: SessionEntry
    peer: Peer
    carried: tuple[int, int] = (0, 0)
    """Inner packets in and out at the last look."""
    used: float = 0.0
    """When packets were last seen to have passed, to the precision of a look."""
    failure: Failure | None = None
    rejected: Failure | None = None
    """What the last proof was refused for: what counts when the client then gives up by itself."""
    end6: IpRouter | IpHost | None = None
    """Our end of the IPv6 link, while that is up."""
    limits: SessionLimits = field(default_factory=SessionLimits)
    bundle: Bundle | None = None
    """The multilink bundle that it is part of."""
    held: list[bytes] | None = field(default_factory=list)
    """Frames that came before the call was up, ``None`` from then on."""


@dataclass(slots=True)
class Peer:
    """One remote machine and all that hangs on it."""

    record: events.PeerRecord
    ike: int | None
    """Handle in the IKE core; ``None`` for clear L2TP."""
    l2tp: L2tpPeer
    entry: PeerEntry | None = None
    index: int = -1
    """In the data plane's table; -1 until the first SA."""
    sas: dict[tuple[int, bool], int] = field(default_factory=dict)
    """(SPI, outbound) to index."""
    cipher: Cipher = Cipher.NULL
    auth: Auth = Auth.NONE
    sessions: dict[tuple[int, int], Session] = field(default_factory=dict)
    """By (local tunnel, local session)."""
    had_session: bool = False
    spoke: bool = False
    """An L2TP message came from it."""
    announced: bool = False
    closing: Failure | None = None
    stopping: bool = False
    packets: int = 0
    """On all inbound SAs, at the last look."""


class Ladder:
    """Joins the four cores. One for a gateway, one for a client. See the module's text for the flow."""

    def __init__(self, ike: IkeEndpoint, tables: Tables, config: LadderConfig, ids: IdAllocator, rand: Rand) -> None:
        self.config = config
        self.draining = False
        self._ike = ike
        self._tables = tables
        self._ids = ids
        self._rand = rand
        self._peers: dict[int, Peer] = {}
        self._by_ike: dict[int, Peer] = {}
        self._by_index: dict[int, Peer] = {}
        self._by_clear: dict[tuple[Endpoint, Endpoint], Peer] = {}
        self._by_sa: dict[int, tuple[Peer, int]] = {}
        self._sessions: dict[int, Session] = {}
        self._session_by_index: dict[int, Session] = {}
        self._handles = count(1)
        self._touched: dict[Key, None] = {}
        self._timers: Timers[Key] = Timers()
        self._ethernets = Ethernets(config.ethernet)
        self._bundles: dict[BundleKey, Bundle] = {}
        self._events: Outbox[events.StackEvent] = Outbox()
        self._packets: Outbox[events.Packet] = Outbox()
        self._timers.set(("ethernet", 0), self._ethernets.deadline())

    # --- what comes in ---------------------------------------------------------------------------------------------------

    def ike_datagram(self, datagram: Datagram, now: float) -> None:
        """Take an ISAKMP message (no non-ESP marker)."""
        self._ike.receive(datagram, now)
        self._settle(now)

    def l2tp_control(self, peer: int, data: bytes, local_port: int, remote_port: int, now: float) -> None:
        """Take an L2TP control message that came through an SA of the peer with this index in the tables."""
        found = self._by_index.get(peer)
        if found is None:
            self._events.put(events.Dropped("l2tp", "l2tp_no_peer", None))
            return
        found.spoke = True
        found.l2tp.receive(data, local_port, remote_port, now)
        self._touch("l2tp", found.record.handle)
        self._settle(now)

    def clear_l2tp(self, local: Endpoint, remote: Endpoint, data: bytes, now: float) -> None:
        """Take an L2TP control message in clear from an address that has no peer record yet."""
        peer = self._by_clear.get((local, remote))
        if peer is None:
            if not self.config.allow_clear or self.draining or len(self._by_clear) >= self.config.max_clear_peers:
                self._events.put(events.Dropped("l2tp", "not_protected", remote))
                return
            peer = self._add_clear_peer(local, remote, now)
            if peer is None:
                return
        peer.l2tp.receive(data, local.port, remote.port, now)
        self._touch("l2tp", peer.record.handle)
        self._settle(now)

    def ppp_frame(self, session: int, frame: bytes, now: float, *, encrypted: bool = False) -> None:
        """Take a PPP frame that the data plane does not forward, for the session with this index in the tables.

        ``encrypted``: it came out of MPPE.
        """
        found = self._session_by_index.get(session)
        if found is None:
            self._events.put(events.Dropped("ppp", "ppp_no_session", None))
            return
        if found.held is None:
            found.link.receive(frame, now, encrypted=encrypted)
        elif len(found.held) < _HELD_FRAMES:
            found.held.append(frame)
        self._touch("ppp", found.record.handle)
        self._settle(now)

    def peer_moved(self, peer: int, remote: Endpoint, now: float) -> None:
        """Take the data plane's word that an authenticated packet of the peer came from another address."""
        found = self._by_index.get(peer)
        if found is None or found.ike is None:
            return
        self._moved(found, remote)
        self._ike.esp_moved(found.ike, remote, now)
        self._settle(now)

    def soft_limit(self, sa: int, now: float) -> None:
        """Take the data plane's word that an SA reached its soft volume or sequence limit."""
        found = self._by_sa.get(sa)
        if found is None or found[0].ike is None:
            return
        self._ike.soft_limit(found[0].ike, found[1], now)
        self._settle(now)

    def mppe_lost(self, session: int, now: float) -> None:
        """Take the data plane's word that stateful MPPE lost its place."""
        found = self._session_by_index.get(session)
        if found is not None:
            found.link.mppe_lost(now)
            self._touch("ppp", found.record.handle)
            self._settle(now)

    def auth_result(self, session: int, request: int, result: AuthResult, now: float) -> bool:
        """Answer an ``AuthNeeded``. False if the session has gone in the meantime: then a lease must be given back."""
        found = self._sessions.get(session)
        if found is None:
            return False
        if isinstance(result, AuthReject):
            found.rejected = Failure(result.slug, result.detail)
        elif isinstance(result, AuthAccept):
            self._set_limits(found, result.limits, now)
        found.link.auth_result(request, result, now)
        self._touch("ppp", session)
        self._settle(now)
        return True

    def tap_frame(self, tap: str, frame: bytes, now: float) -> None:
        """Take an Ethernet frame from a TAP."""
        self._ethernets.from_tap(tap, frame, now)
        self._pump_ethernets()
        self._settle(now)

    # --- commands --------------------------------------------------------------------------------------------------------

    def disconnect(self, session: int, failure: Failure, now: float) -> bool:
        """End a session politely, from the top down. False if there is none with that handle."""
        found = self._sessions.get(session)
        if found is None:
            return False
        found.failure = found.failure or failure
        found.link.close(failure, now)
        self._touch("ppp", session)
        self._settle(now)
        return True

    def close_all(self, failure: Failure, now: float) -> None:
        """End everything politely; ``finished`` tells when it is done. Nobody new is let in from here on."""
        self.draining = True
        for peer in list(self._peers.values()):
            self._close_peer(peer, failure, now)
        self._settle(now)

    @property
    def finished(self) -> bool:
        """Whether there are no peers left."""
        return not self._peers

    def sessions(self) -> list[events.SessionRecord]:
        """The records of all sessions, oldest first."""
        return [session.record for session in self._sessions.values()]

    def sas(self, peer: int) -> dict[tuple[int, bool], int]:
        """The SAs of a peer, by its handle: (SPI, outbound) to the index in the data plane's table."""
        found = self._peers.get(peer)
        return dict(found.sas) if found is not None else {}

    def peers(self) -> list[events.PeerRecord]:
        """The records of all peers, oldest first."""
        return [peer.record for peer in self._peers.values()]

    def keepalives(self, now: float) -> list[tuple[Endpoint, Endpoint]]:
        """(local, remote) pairs that need a NAT keepalive now."""
        return self._ike.keepalives(now)

    # --- what goes out ---------------------------------------------------------------------------------------------------

    def poll_datagrams(self) -> list[Datagram]:
        """ISAKMP messages to send."""
        return self._ike.poll_datagrams()

    def poll_packets(self) -> list[events.Packet]:
        """L2TP and PPP control for the data plane to send, and records to remove, strictly in this order."""
        return self._packets.drain()

    def poll_events(self) -> list[events.StackEvent]:
        """What happened since the last call."""
        return self._events.drain()

    def deadline(self) -> float | None:
        """When ``tick`` wants to be called."""
        return self._timers.next()

    def tick(self, now: float) -> None:
        """Do what is due."""
        for kind, handle in self._timers.due(now):
            match kind:
                case "ike":
                    self._ike.tick(now)
                case "l2tp":
                    if (peer := self._peers.get(handle)) is not None:
                        peer.l2tp.tick(now)
                        self._touch("l2tp", handle)
                case "ppp":
                    if (session := self._sessions.get(handle)) is not None:
                        session.link.tick(now)
                        self._touch("ppp", handle)
                case "linger":
                    if (peer := self._peers.get(handle)) is not None:
                        self._linger_over(peer, now)
                case "ip6":
                    if (session := self._sessions.get(handle)) is not None and session.end6 is not None:
                        session.end6.tick(now)
                        self._pump_ip6(session)
                case "bundle":
                    if (session := self._sessions.get(handle)) is not None and session.bundle is not None:
                        self._deliver(session.bundle, session.bundle.tick(now), now)
                case "ethernet":
                    self._ethernets.tick(now)
                    self._pump_ethernets()
                case "limit":
                    if (session := self._sessions.get(handle)) is not None:
                        self._limit(session, now)
                case "activity":
                    if (peer := self._peers.get(handle)) is not None:
                        self._look_at_traffic(peer, now)
                case _:
                    raise LocalError(f"no timer of kind {kind}")
        self._settle(now)

    # --- the engine: everything touched is pumped until nothing moves ------------------------------------------------------

    def _touch(self, kind: str, handle: int) -> None:
        self._touched[kind, handle] = None

    def _settle(self, now: float) -> None:
        while True:
            for event in self._ike.poll_events():
                self._on_ike(event, now)
            touched, self._touched = self._touched, {}
            if not touched:
                break
            for kind, handle in touched:
                if kind == "l2tp" and (peer := self._peers.get(handle)) is not None:
                    self._pump_l2tp(peer, now)
                elif kind == "ppp" and (session := self._sessions.get(handle)) is not None:
                    self._pump_ppp(session, now)
        self._timers.set(("ike", 0), self._ike.deadline())

    def _pump_l2tp(self, peer: Peer, now: float) -> None:
        for event in peer.l2tp.poll_events():
            self._on_l2tp(peer, event, now)
        self._send_control(peer)
        self._timers.set(("l2tp", peer.record.handle), peer.l2tp.deadline())
        if peer.ike is None and peer.l2tp.finished and not peer.sessions:
            self._forget_peer(peer, peer.closing or Failure(Slug.PEER_CLOSED), now)

    def _send_control(self, peer: Peer) -> None:
        for datagram in peer.l2tp.poll_datagrams():
            self._packets.put(events.L2tpPacket(peer.index, datagram.local_port, datagram.remote_port, datagram.data))

    def _pump_ppp(self, session: Session, now: float) -> None:
        happened = session.link.poll_events()
        for event in happened:
            # Frames the link made before it went down still need the session: they leave first.
            if isinstance(event, ppp_events.LinkDown):
                self._send_frames(session)
            self._on_ppp(session, event, now)
        if session.record.handle in self._sessions:
            self._send_frames(session)
            self._timers.set(("ppp", session.record.handle), session.link.deadline())

    def _send_frames(self, session: Session) -> None:
        for frame in session.link.poll_frames():
            self._packets.put(events.PppPacket(session.record.index, frame))

    # --- rungs 3 to 5: IKE and ESP -------------------------------------------------------------------------------------------

    def _on_ike(self, event: ike_events.IkeEvent, now: float) -> None:
        match event:
            case ike_events.PeerUp():
                self._on_peer_up(event, now)
            case ike_events.InstallSa():
                self._on_install(event, now)
            case ike_events.RemoveSa():
                self._on_remove(event)
            case ike_events.UseSa():
                self._on_use(event)
            case ike_events.ChildUp():
                self._on_child_up(event, now)
            case ike_events.PeerMoved():
                if (peer := self._by_ike.get(event.peer)) is not None:
                    self._moved(peer, event.remote)
            case ike_events.PeerDown():
                if (peer := self._by_ike.get(event.peer)) is not None:
                    self._forget_peer(peer, event.failure, now)
            case ike_events.Refused():
                known = self._by_ike.get(event.peer) if event.peer is not None else None
                self._events.put(events.Refused(event.remote, event.failure, known.record if known else None))
                self._on_refused(event)
            case ike_events.Dropped():
                self._events.put(events.Dropped("ike", event.reason, event.remote))
            case ike_events.Keys():
                self._events.put(events.IkeKey(event.initiator_cookie, event.key))

    def _on_refused(self, event: ike_events.Refused) -> None:
        """Let a role react to a refused negotiation."""

    def _on_peer_up(self, event: ike_events.PeerUp, now: float) -> None:
        record = events.PeerRecord(
            handle=next(self._handles),
            local=event.local,
            remote=event.remote,
            auth=event.auth,
            remote_id=event.remote_id,
            vendor=event.vendor,
            ike_proposal=event.proposal,
            nat_local=event.nat_local,
            nat_remote=event.nat_remote,
            since=now,
            rungs={Rung.PATH: event.began, Rung.IKE_PROPOSAL: event.chosen, Rung.IKE_AUTH: now},
        )
        peer = Peer(record, event.peer, L2tpPeer(self.config.l2tp, self._ids, self._rand))
        self._peers[record.handle] = peer
        self._by_ike[event.peer] = peer
        self._timers.set(("linger", record.handle), now + self.config.l2tp_timeout)
        if self.draining:
            self._close_peer(peer, Failure(Slug.DRAINING, "this gateway takes no new connections now"), now)

    def _on_install(self, event: ike_events.InstallSa, now: float) -> None:
        peer = self._by_ike.get(event.peer)
        if peer is None or peer.ike is None:
            return
        keys = event.keys
        entry = PeerEntry(
            remote=event.remote,
            local=peer.record.local,
            udp_encap=keys.udp_encap,
            follow=event.follow,
            l2tp_port=event.local_selector_port,
            cookie=peer.record.handle,
        )
        try:
            if peer.index < 0:
                peer.index = self._tables.add_peer(entry)
                self._by_index[peer.index] = peer
            elif entry != peer.entry:
                self._tables.update_peer(peer.index, entry)
            peer.entry = entry
            index = self._tables.add_sa(peer.index, keys)
        except LocalError as error:
            failure = Failure(Slug.LIMIT_SESSIONS, f"no room in the data plane: {error}")
            self._events.put(events.Refused(event.remote, failure, peer.record))
            self._ike.close_peer(peer.ike, failure, now)
            return
        peer.sas[keys.spi, keys.outbound] = index
        self._by_sa[index] = (peer, keys.spi)
        peer.cipher, peer.auth = keys.cipher, keys.auth
        if keys.outbound:
            self._tables.use_sa(index)
        if self.config.keylog:
            ends = (peer.record.local, event.remote) if keys.outbound else (event.remote, peer.record.local)
            self._events.put(events.EspKey(*ends, keys.spi, keys.cipher, keys.auth, keys.enc_key, keys.auth_key))

    def _on_remove(self, event: ike_events.RemoveSa) -> None:
        peer = self._by_ike.get(event.peer)
        if peer is None:
            return
        index = peer.sas.pop((event.spi, event.outbound), None)
        if index is not None:
            del self._by_sa[index]
            self._tables.remove_sa(index)

    def _on_use(self, event: ike_events.UseSa) -> None:
        peer = self._by_ike.get(event.peer)
        index = peer.sas.get((event.spi, True)) if peer is not None else None
        if index is not None:
            self._tables.use_sa(index)

    def _on_child_up(self, event: ike_events.ChildUp, now: float) -> None:
        peer = self._by_ike.get(event.peer)
        if peer is None:
            return
        peer.record.esp_proposal = event.proposal
        if not peer.announced:
            peer.announced = True
            peer.record.rungs[Rung.ESP] = now
            self._timers.set(("activity", peer.record.handle), now + _ACTIVITY_INTERVAL)
            self._events.put(events.PeerUp(peer.record))
            self._on_ipsec_up(peer, now)

    def _on_ipsec_up(self, peer: Peer, now: float) -> None:
        """Let a role begin L2TP."""

    def _moved(self, peer: Peer, remote: Endpoint) -> None:
        before = peer.record.remote
        if before == remote:
            return
        peer.record.remote = remote
        if peer.entry is not None:
            peer.entry = replace(peer.entry, remote=remote)
            self._tables.update_peer(peer.index, peer.entry)
        self._events.put(events.PeerMoved(peer.record, before))

    def _add_clear_peer(self, local: Endpoint, remote: Endpoint, now: float) -> Peer | None:
        record = events.PeerRecord(next(self._handles), local, remote, auth="none", since=now)
        entry = PeerEntry(remote, local, udp_encap=False, follow=False, clear=True, l2tp_port=local.port, cookie=record.handle)
        try:
            index = self._tables.add_peer(entry)
        except LocalError as error:
            self._events.put(events.Refused(remote, Failure(Slug.LIMIT_SESSIONS, f"no room in the data plane: {error}")))
            return None
        peer = Peer(record, None, L2tpPeer(self.config.l2tp, self._ids, self._rand), entry, index)
        self._peers[record.handle] = peer
        self._by_index[index] = peer
        self._by_clear[local, remote] = peer
        self._timers.set(("linger", record.handle), now + self.config.l2tp_timeout)
        return peer

    # --- rung 6: L2TP ----------------------------------------------------------------------------------------------------------

    def _on_l2tp(self, peer: Peer, event: l2tp_events.L2tpEvent, now: float) -> None:
        match event:
            case l2tp_events.TunnelUp():
                peer.record.rungs.setdefault(Rung.L2TP, now)
                self._on_tunnel_up(peer, event)
            case l2tp_events.TunnelDown():
                self._on_tunnel_down(peer, event, now)
            case l2tp_events.SessionPending():
                self._admit(peer, event, now)
            case l2tp_events.SessionUp():
                self._on_session_up(peer, event, now)
            case l2tp_events.SessionDown():
                session = peer.sessions.get((event.local_tunnel, event.local_session))
                if session is not None:
                    self._forget_session(session, session.link.reason or event.failure, now, by_peer=True)
            case l2tp_events.Refused():
                self._events.put(events.Refused(peer.record.remote, event.failure, peer.record))
            case l2tp_events.Dropped():
                self._events.put(events.Dropped("l2tp", event.reason, peer.record.remote))

    def _on_tunnel_up(self, peer: Peer, event: l2tp_events.TunnelUp) -> None:
        """Let a role keep the peer's names."""

    def _on_tunnel_down(self, peer: Peer, event: l2tp_events.TunnelDown, now: float) -> None:
        """Let a role react to the end of a tunnel. A peer with nothing left lingers, then goes."""

    def _on_session_up(self, peer: Peer, event: l2tp_events.SessionUp, now: float) -> None:
        session = peer.sessions.get((event.local_tunnel, event.local_session))
        if session is None:
            session = self._admit(peer, event, now)
        if session is None:
            return
        numbered = event.sequencing_required or self.config.l2tp.sequencing
        self._update(session, send_sequence=numbered, require_sequence=event.sequencing_required)
        session.record.rungs[Rung.L2TP] = now
        self._timers.set(("linger", peer.record.handle), None)
        session.link.open(now)
        held, session.held = session.held or [], None
        for frame in held:
            session.link.receive(frame, now)
        self._touch("ppp", session.record.handle)

    def _admit(self, peer: Peer, event: l2tp_events.SessionPending | l2tp_events.SessionUp, now: float) -> Session | None:
        """Make room for a session, so that frames which overtake the last message of its set-up find it. ``None`` if it was refused."""
        handle = next(self._handles)
        config = self._link_config(peer)
        if config.ipx is not None and config.server:
            config = replace(config, ipx=replace(config.ipx, assign=session_node(handle)))
        entry = SessionEntry(
            peer=peer.index,
            local_tunnel=event.local_tunnel,
            local_session=event.local_session,
            remote_tunnel=event.remote_tunnel,
            remote_session=event.remote_session,
            local_port=event.local_port,
            remote_port=event.remote_port,
            lns=isinstance(event, l2tp_events.SessionPending) or event.lns,
            cookie=handle,
            mppe_policy=_mppe_policy(config.encryption),
            send_mru=config.max_send_mru,
            recv_mru=config.mru,
            mss4=self._mss(config.max_send_mru),
            mss6=self._mss(config.max_send_mru, TCP_IP6),
        )
        try:
            self._check_room()
            index = self._tables.add_session(entry)
        except LocalError as error:
            failure = Failure(Slug.DRAINING if self.draining else Slug.LIMIT_SESSIONS, str(error))
            self._events.put(events.Refused(peer.record.remote, failure, peer.record))
            peer.l2tp.close_session(event.local_tunnel, event.local_session, failure, now)
            self._touch("l2tp", peer.record.handle)
            return None
        record = events.SessionRecord(
            handle=handle,
            peer=peer.record,
            local_tunnel=event.local_tunnel,
            local_session=event.local_session,
            remote_tunnel=event.remote_tunnel,
            remote_session=event.remote_session,
            index=index,
            host_name=self._host_name(peer),
            calling_number=event.calling_number,
        )
        session = Session(record, Link(config, self._rand), entry, peer)
        peer.sessions[event.local_tunnel, event.local_session] = session
        peer.had_session = True
        self._sessions[handle] = session
        self._session_by_index[index] = session
        return session

    def _check_room(self) -> None:
        if self.draining:
            raise TableFull("no new sessions are taken now")
        if len(self._sessions) >= self.config.max_sessions:
            raise TableFull(f"{len(self._sessions)} of {self.config.max_sessions} sessions are in use")

    def _host_name(self, peer: Peer) -> str:  # noqa: ARG002 (a role's hook)
        return ""

    # --- rungs 7 to 10: PPP ------------------------------------------------------------------------------------------------------

    def _link_config(self, peer: Peer) -> LinkConfig:
        """The link's configuration with sizes that fit this peer's path and transforms."""
        link = self.config.link
        # An MRU counts what MPPE puts in front of a packet: where it may come up, there is room for it on top.
        mppe = MPPE if link.encryption is not Encryption.OFF or Compression.MPPC in link.compression else 0
        if peer.ike is None:
            room = self.config.path_mtu - (60 if peer.record.remote.address.version == 6 else 40) - 16
        else:
            room = inner_mtu(
                self.config.path_mtu,
                peer.record.remote.address.version,
                peer.cipher,
                peer.auth,
                udp_encap=peer.entry is not None and peer.entry.udp_encap,
                mppe=mppe > 0,
                numbered=self.config.l2tp.sequencing,
            )
        return replace(link, mru=min(link.mru, room) + mppe, max_send_mru=min(link.max_send_mru, room) + mppe)

    def _size(self, session: Session, send_mru: int) -> None:
        """Settle how large an inner packet to the peer may be, and what TCP is told of it."""
        record = session.record
        wrapped = bool(record.mppe) or Compression.MPPC in record.compression  # MPPC alone has MPPE's header
        record.mtu = min(send_mru - (MPPE if wrapped else 0), self.config.link.max_send_mru)
        self._update(session, send_mru=send_mru, mss4=self._mss(record.mtu), mss6=self._mss(record.mtu, TCP_IP6))

    def _on_ppp(self, session: Session, event: ppp_events.PppEvent, now: float) -> None:
        record = session.record
        match event:
            case ppp_events.LcpUp():
                record.rungs[Rung.LCP] = now
                record.lcp = _lcp_text(event)
                self._update(session, send_acfc=event.send_acfc, send_pfc=event.send_pfc)
                self._size(session, event.send_mru)
            case ppp_events.AuthRequest():
                record.username = printable(event.username)
                self._events.put(events.AuthNeeded(record, event))
            case ppp_events.Authenticated():
                record.rungs[Rung.USER_AUTH] = now
                session.rejected = None
                record.username = event.username
                record.auth_method = event.method.value if event.method is not None else ""
            case ppp_events.EncryptionDecided():
                if event.required:  # passed when MPPE is up
                    self._update(session, mppe_policy=MppePolicy.REQUIRED)
                else:
                    record.rungs.setdefault(Rung.ENCRYPTION, now)
            case ppp_events.MppeUp():
                record.rungs.setdefault(Rung.ENCRYPTION, now)
                self._tables.set_mppe(record.index, event.receive)
                self._tables.set_mppe(record.index, event.send)
                record.mppe = f"{event.send.bits}-bit {modes(event)}"
                record.compression = both_ways(*("mppc" if keys.mppc else "" for keys in (event.receive, event.send)))
                self._size(session, session.entry.send_mru)
            case ppp_events.CompressionUp():
                self._tables.set_compression(record.index, event.send, event.receive)
                record.compression = both_ways(*(c.method.value if c else "" for c in (event.receive, event.send)))
                self._size(session, session.entry.send_mru)
            case ppp_events.MppeDown():
                self._tables.close_mppe(record.index)
                record.mppe = record.compression = ""
                self._size(session, session.entry.send_mru)
            case ppp_events.MppeFlush():
                self._tables.flush_mppe(record.index)
            case ppp_events.Ipv4Up():
                record.rungs[Rung.NETWORK] = now
                record.local_address, record.remote_address, record.dns = event.local, event.remote, event.dns
                if record.vj or event.vj != VjSlots():
                    record.vj = event.vj != VjSlots()
                    self._tables.set_vj(record.index, event.vj)
                self._open4(session, event)
                self._session_up(session, now)
            case ppp_events.Ipv4Down():
                self._update(session, open4=False)
            case ppp_events.Ipv6Up():
                record.link_local, record.prefix6 = event.local, event.prefix
                session.end6 = self._open6(session, event, now)
                self._pump_ip6(session)
            case ppp_events.Ipv6Down():
                self._close6(session)
            case ppp_events.IpxUp():
                # A host attaches as itself, a router knows the session by the other's node.
                node = event.local if self.config.ethernet.ipx_host else event.remote
                record.ipx = f"{event.network:08x}.{node.hex()}"
                if not self._ethernets.ipx_up(record.handle, node, now):
                    self._events.put(events.Dropped("ipx", "ipx_node_taken", record.peer.remote))
                    record.ipx = ""
                    session.link.withdraw(Proto.IPXCP, now)
                    self._touch("ppp", record.handle)
                self._pump_ethernets()
            case ppp_events.IpxDown():
                record.ipx = ""
                self._ethernets.ipx_down(record.handle)
            case ppp_events.BridgeUp() if session.limits.filters:
                # On the Ethernet there are no filters: who has some does not get there.
                self._events.put(events.Dropped("ppp", "bridge_filtered", record.peer.remote))
                session.link.withdraw(Proto.BCP, now)
                self._touch("ppp", record.handle)
            case ppp_events.BridgeUp():
                record.bridged = True
                self._ethernets.bridge_up(record.handle, event.room, now, tagged=event.tagged)
            case ppp_events.BridgeDown():
                record.bridged = False
                self._ethernets.bridge_down(record.handle)
            case ppp_events.MultilinkOffered():
                self._bundle(session, event.terms, now)
            case ppp_events.MultilinkLeft():
                self._unbundle(session, now)
            case ppp_events.Carried() if session.bundle is not None and (
                event.protocol == Proto.MULTILINK or session.bundle.head is not session
            ):
                self._bundled(session, session.bundle, event, now)
            case ppp_events.Carried():
                self._carried(session, event, now)
            case ppp_events.Settled():
                record.rungs.setdefault(Rung.NETWORK, now)
                self._session_up(session, now)
            case ppp_events.Identification():
                _identify(record, event.text)
            case ppp_events.TimeRemaining():
                self._events.put(events.TimeRemaining(record, event.seconds, event.text))
            case ppp_events.ProtocolRejected():
                self._events.put(events.ProtocolRejected(record, event.protocol))
            case ppp_events.LinkDown():
                failure = session.failure or session.rejected or event.failure
                peer = session.peer
                peer.l2tp.close_session(record.local_tunnel, record.local_session, failure, now)
                self._touch("l2tp", peer.record.handle)
                self._forget_session(session, failure, now, by_peer=event.by_peer)
            case ppp_events.Dropped():
                self._events.put(events.Dropped("ppp", event.reason, record.peer.remote))

    def _mss(self, mtu: int, headers: int = TCP_IP4) -> int:
        return mtu - headers if self.config.mss_clamp else 0

    def _open4(self, session: Session, event: ppp_events.Ipv4Up) -> None:
        """Let user data flow."""
        self._update(session, open4=True, own4=event.remote)

    def _session_up(self, session: Session, now: float) -> None:
        """Traffic may flow. The first network protocol that comes up says so, if it is IPv4; else all of them together."""
        record = session.record
        if not record.up:
            record.up = True
            session.used = now
            self._limit(session, now)
            limits = session.limits
            most = self.config.session_timeout if limits.session_time is None else limits.session_time
            left = min((seconds for seconds in (most or None, limits.quota_time) if seconds is not None), default=None)
            if left is not None:
                session.link.time_remaining(left, "session limit of the gateway")
                self._touch("ppp", record.handle)
            self._events.put(events.SessionUp(record))

    # --- IPv6, and what else a session carries ----------------------------------------------------------------------------------

    def _open6(self, session: Session, event: ppp_events.Ipv6Up, now: float) -> IpRouter | IpHost | None:
        """Let IPv6 flow, and begin our end of the link; the role knows which."""
        raise NotImplementedError

    def _close6(self, session: Session) -> None:
        session.end6 = None
        session.record.link_local = session.record.prefix6 = session.record.router6 = None
        session.record.addresses6 = session.record.dns6 = ()
        self._timers.set(("ip6", session.record.handle), None)
        self._update(session, open6=False, own6=None)
        self._events.put(events.Ip6Learned(session.record))

    def _pump_ip6(self, session: Session) -> None:
        end, record = session.end6, session.record
        if end is None:
            return
        for packet in end.poll_packets():
            self._carry(session, Proto.IPV6, packet)
        for reason in end.poll_drops():
            self._events.put(events.Dropped("ip6", reason, record.peer.remote))
        if isinstance(end, IpHost):
            for learned in end.poll_events():
                record.addresses6, record.dns6, record.router6 = learned.addresses, learned.dns, learned.router
                self._events.put(events.Ip6Learned(record))
        self._timers.set(("ip6", record.handle), end.deadline())
        self._touch("ppp", record.handle)

    def _carried(self, session: Session, event: ppp_events.Carried, now: float) -> None:
        end = session.end6
        if event.protocol == Proto.IPV6 and isinstance(end, IpRouter):
            end.receive(event.information, now)
            self._pump_ip6(session)
        elif event.protocol == Proto.IPV6 and end is not None and end.receive(event.information, now):
            self._pump_ip6(session)
        elif self._ethernets.takes(event.protocol):
            self._ethernets.from_session(session.record.handle, event.protocol, event.information, now)
            self._pump_ethernets()
        else:
            self._events.put(events.Carried(session.record, event.protocol, event.information))

    # --- multilink --------------------------------------------------------------------------------------------------------------

    def _bundle(self, session: Session, terms: Terms, now: float) -> None:
        """Find the bundle that a session belongs to; without one it leads its own."""
        if session.limits.filters or session.limits.rate_up or session.limits.quota_octets is not None:
            # Fragments do not pass the data plane's filters, rates and sums; a limit that can be passed by is none.
            detail = "the user has filters, rates or a quota, which multilink would pass by; switch multilink off at the client"
            session.link.close(Failure(Slug.IPCP_REFUSED, detail), now)
            self._touch("ppp", session.record.handle)
            return
        key = BundleKey(session.record.username, terms.discriminator)
        bundle = self._bundles.get(key) if len(terms.discriminator) > 1 else None
        if bundle is not None and bundle.takes(terms):
            head = bundle.head.record
            bundle.add(session)
            session.bundle = bundle
            session.link.follow(now)
            record = session.record
            record.bundle, record.rungs[Rung.NETWORK] = head.handle, now
            record.local_address, record.remote_address, record.dns = head.local_address, head.remote_address, head.dns
            self._session_up(session, now)
        else:
            session.bundle = Bundle(key, terms, session)
            if bundle is None:
                self._bundles[key] = session.bundle
            session.link.lead(now)
        self._touch("ppp", session.record.handle)

    def _unbundle(self, session: Session, now: float) -> None:
        """A session leaves its bundle; with the one that leads it all of them end, for its addresses are theirs."""
        bundle, session.bundle = session.bundle, None
        if bundle is None:
            return
        bundle.remove(session)
        if bundle.head is not session:
            return
        self._timers.set(("bundle", session.record.handle), None)
        if self._bundles.get(bundle.key) is bundle:
            del self._bundles[bundle.key]
        for other in list(bundle.sessions):
            other.bundle = None
            other.link.close(Failure(Slug.PEER_CLOSED, "the session that leads the bundle has ended"), now)
            self._touch("ppp", other.record.handle)

    def _bundled(self, session: Session, bundle: Bundle, event: ppp_events.Carried, now: float) -> None:
        if event.protocol != Proto.MULTILINK:
            self._deliver(bundle, [Frame(event.protocol, event.information)], now)
            return
        try:
            frames = bundle.receive(session, event.information, now)
        except Malformed as error:
            self._events.put(events.Dropped("ppp", f"{error.layer}_{error.field}", session.record.peer.remote))
            return
        self._deliver(bundle, frames, now)

    def _deliver(self, bundle: Bundle, frames: list[Frame], now: float) -> None:
        """Frames of a bundle: IP to the system, as the data plane does with whole ones, everything else to the link that leads."""
        head = bundle.head
        for frame in frames:
            if frame.protocol not in FORWARDED or stays_on_link(frame.information):
                head.link.receive(frame.emit(), now)
            elif head.link.is_open(frame.protocol) and is_its_own(frame.information, head):
                head.used = now
                self._events.put(events.Carried(head.record, frame.protocol, frame.information))
            else:
                self._events.put(events.Dropped("ppp", "mp_spoofed_source", head.record.peer.remote))
        for reason in bundle.poll_drops():
            self._events.put(events.Dropped("ppp", reason, head.record.peer.remote))
        self._timers.set(("bundle", head.record.handle), bundle.deadline())
        self._touch("ppp", head.record.handle)

    def _carry(self, session: Session, protocol: int, information: bytes) -> bool:
        """Send a packet of ours, in fragments where the session is part of a bundle."""
        bundle = session.bundle
        if bundle is None:
            return session.link.carry(protocol, information)
        pieces = bundle.cut(protocol, information) if bundle.head.link.is_open(protocol) else []
        for member, piece in pieces:
            member.link.fragment(piece)
            self._touch("ppp", member.record.handle)
        return bool(pieces)

    def _pump_ethernets(self) -> None:
        for output in self._ethernets.poll():
            if isinstance(output, ToTap):
                self._packets.put(events.TapFrame(output.tap, output.frame))
            elif (session := self._sessions.get(output.session)) is not None:
                if not self._carry(session, output.protocol, output.information):
                    self._events.put(events.Dropped("ppp", "ppp_carry", session.record.peer.remote))
                self._touch("ppp", output.session)
        for reason in self._ethernets.poll_drops():
            self._events.put(events.Dropped("ethernet", reason, None))
        self._timers.set(("ethernet", 0), self._ethernets.deadline())

    def carry(self, session: int, protocol: int, information: bytes, now: float) -> bool:
        """Send a packet of a network protocol through a session. False if it is not open there, or the packet is too large."""
        found = self._sessions.get(session)
        if found is None or not self._carry(found, protocol, information):
            return False
        self._touch("ppp", session)
        self._settle(now)
        return True

    def _update(self, session: Session, **changes: object) -> None:
        entry = replace(session.entry, **changes)  # type: ignore[arg-type]
        if entry != session.entry:
            session.entry = entry
            self._tables.update_session(session.record.index, entry)

    # --- the way down ----------------------------------------------------------------------------------------------------------------

    def _forget_session(self, session: Session, failure: Failure, now: float, *, by_peer: bool) -> None:
        record, peer = session.record, session.peer
        if self._sessions.pop(record.handle, None) is None:
            return
        del self._session_by_index[record.index]
        del peer.sessions[record.local_tunnel, record.local_session]
        for kind in ("ppp", "limit", "ip6"):
            self._timers.set((kind, record.handle), None)
        self._ethernets.ipx_down(record.handle)
        self._ethernets.bridge_down(record.handle)
        self._unbundle(session, now)
        self._send_frames(session)
        self._packets.put(events.ReleaseSession(record.index))
        self._timers.set(("linger", peer.record.handle), now + self.config.peer_linger)
        failure = session.failure or session.rejected or failure
        self._events.put(events.SessionDown(record, failure, by_peer))
        self._on_session_down(peer, failure, now)
        if peer.closing is not None and not peer.sessions:
            self._stop_peer(peer, now)

    def _on_session_down(self, peer: Peer, failure: Failure, now: float) -> None:
        """Let a role react to the end of a session."""

    def _close_peer(self, peer: Peer, failure: Failure, now: float) -> None:
        """From the top down: links, then tunnels, then the SAs."""
        if peer.closing is not None:
            return
        peer.closing = failure
        for session in list(peer.sessions.values()):
            session.failure = session.failure or failure
            session.link.close(failure, now)
            self._touch("ppp", session.record.handle)
        if not peer.sessions:
            self._stop_peer(peer, now)

    def _stop_peer(self, peer: Peer, now: float) -> None:
        if peer.stopping:
            return
        peer.stopping = True
        assert peer.closing is not None
        peer.l2tp.close_all(peer.closing, now)
        self._touch("l2tp", peer.record.handle)
        self._timers.set(("linger", peer.record.handle), now + _STOP_DELAY)

    def _linger_over(self, peer: Peer, now: float) -> None:
        if peer.sessions:
            return
        if not peer.stopping:
            silent = Failure(Slug.L2TP_SILENT, "IPsec is up, but no L2TP session came through it")
            failure = Failure(Slug.PEER_CLOSED) if peer.had_session else silent
            if not peer.had_session:
                self._events.put(events.Refused(peer.record.remote, failure, peer.record))
            self._close_peer(peer, failure, now)
            return
        assert peer.closing is not None
        if peer.ike is not None:
            self._ike.close_peer(peer.ike, peer.closing, now)
        else:
            self._forget_peer(peer, peer.closing, now)

    def _forget_peer(self, peer: Peer, failure: Failure, now: float) -> None:
        handle = peer.record.handle
        if self._peers.pop(handle, None) is None:
            return
        for session in list(peer.sessions.values()):
            self._forget_session(session, session.link.reason or failure, now, by_peer=True)
        for kind in ("l2tp", "linger", "activity"):
            self._timers.set((kind, handle), None)
        peer.l2tp.abandon()
        if peer.ike is not None:
            self._by_ike.pop(peer.ike, None)
        else:
            self._by_clear.pop((peer.record.local, peer.record.remote), None)
        if peer.index >= 0:
            del self._by_index[peer.index]
            for index in peer.sas.values():
                del self._by_sa[index]
                self._tables.remove_sa(index)
            peer.sas.clear()
            self._packets.put(events.ReleasePeer(peer.index))
        self._events.put(events.PeerDown(peer.record, failure))

    def set_limits(self, session: int, limits: SessionLimits, now: float) -> bool:
        """Give a session other limits, at once. False if there is none with that handle."""
        found = self._sessions.get(session)
        if found is None:
            return False
        self._set_limits(found, limits, now)
        self._settle(now)
        return True

    def _set_limits(self, session: Session, limits: SessionLimits, now: float) -> None:
        session.limits = limits
        # The data plane counts octets. Less than one a second is none at all, which 0 would not be.
        up, down = ((bits + 7) // 8 for bits in (limits.rate_up, limits.rate_down))
        self._update(session, rate_rx=up, rate_tx=down, filters=limits.filters)
        if session.record.up:
            self._limit(session, now)

    def _limit(self, session: Session, now: float) -> None:
        """End a session whose time or traffic is used up, or look again when it may be."""
        config, record, limits = self.config, session.record, session.limits
        begin = record.rungs[Rung.NETWORK]
        most = config.session_timeout if limits.session_time is None else limits.session_time
        rest = config.idle_timeout if limits.idle_time is None else limits.idle_time
        over = begin + most if most else None
        idle = session.used + rest if rest else None
        spent = begin + limits.quota_time if limits.quota_time is not None else None
        octets = sum(self._tables.session_octets(record.index)) if limits.quota_octets is not None else 0
        failure = None
        if over is not None and now >= over:
            failure = Failure(Slug.SESSION_TIMEOUT, f"{most:g} s are over")
        elif spent is not None and now >= spent:
            failure = Failure(Slug.QUOTA, f"the last {limits.quota_time:.0f} s of the account's quota are used up")
        elif limits.quota_octets is not None and octets >= limits.quota_octets:
            failure = Failure(Slug.QUOTA, f"the last {limits.quota_octets} octets of the account's quota are used up")
        elif idle is not None and now >= idle:
            failure = Failure(Slug.IDLE_TIMEOUT, f"no packet for {rest:g} s")
        if failure is None:
            look = now + _ACTIVITY_INTERVAL if limits.quota_octets is not None else None
            self._timers.set(("limit", record.handle), earliest((over, idle, spent, look)))
            return
        session.failure = session.failure or failure
        session.link.close(failure, now)
        self._touch("ppp", record.handle)

    # --- signs of life ----------------------------------------------------------------------------------------------------------------

    def _look_at_traffic(self, peer: Peer, now: float) -> None:
        packets = sum(self._tables.sa_packets(index) for (_, outbound), index in peer.sas.items() if not outbound)
        if packets != peer.packets:
            peer.packets = packets
            if peer.ike is not None:
                self._ike.esp_activity(peer.ike, now)
        for (tunnel, _), session in peer.sessions.items():
            carried = self._tables.session_packets(session.record.index)
            if carried[0] != session.carried[0]:
                peer.l2tp.saw_data(tunnel, now)
                session.link.saw_data(now)
                self._touch("ppp", session.record.handle)
                self._touch("l2tp", peer.record.handle)
            if carried != session.carried:
                session.carried, session.used = carried, now
            if all(carried) and session.record.up:
                session.record.rungs.setdefault(Rung.TRAFFIC, now)
        self._timers.set(("activity", peer.record.handle), now + _ACTIVITY_INTERVAL)


def session_node(handle: int) -> bytes:
    """The IPX node number of a session that brings none: of local administration, and never that of the gateway."""
    return b"\x02\x48" + (handle & 0xFFFFFFFF).to_bytes(4, "big")


def _lcp_text(event: ppp_events.LcpUp) -> str:
    """What LCP agreed, for a person."""
    fields = ("address and control" if event.send_acfc else "", "protocol" if event.send_pfc else "")
    short = " and ".join(field for field in fields if field)
    parts = (
        f"mru {event.send_mru}",
        event.auth.value if event.auth else "no authentication",
        f"{short} compressed" if short else "",
    )
    return ", ".join(part for part in parts if part)


_COMPUTER = re.compile(r"MSRAS-\d+-(.+)")
_TEXT_MAX = 255


def _identify(record: events.SessionRecord, text: str) -> None:
    """Windows names its RAS version (MSRASV5.20), its computer (MSRAS-0-LAPTOP), and a GUID; others say what they like."""
    if found := _COMPUTER.fullmatch(text):
        record.computer = found[1]
    elif text not in record.software.split(", "):
        record.software = f"{record.software}, {text}".removeprefix(", ")[:_TEXT_MAX]


def modes(up: ppp_events.MppeUp) -> str:
    """``stateless`` or ``stateful``, or which way is which."""
    return both_ways(*("stateless" if keys.stateless else "stateful" for keys in (up.receive, up.send)))


def both_ways(receive: str, send: str) -> str:
    """What compresses either way, in one word if it is the same."""
    return receive if receive == send else f"{receive or 'none'} in, {send or 'none'} out"


def _mppe_policy(encryption: Encryption) -> MppePolicy:
    """What may pass before the link has decided: nothing unencrypted where encryption is required."""
    if encryption is Encryption.OFF:
        return MppePolicy.NEVER
    return MppePolicy.WHEN_OPEN if encryption is Encryption.OPTIONAL else MppePolicy.REQUIRED
