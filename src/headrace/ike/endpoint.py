"""The way in: datagrams to negotiations and peers, by cookies and never by address (RFC 2408 section 2.5.3, 5.1).

A message takes one of four ways::

    no responder cookie          -> first_message   a new half-open negotiation as responder, bounded
    cookies of a half-open one   -> half_open       messages 3 and 5; the last makes a peer, or joins one
    cookies of a peer            -> Peer.receive    its ISAKMP SAs, or a main mode that it began
    anything else                -> dropped, with its reason

A fragment goes to whom its cookies name and comes back as a whole message.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from headrace.core import Core
from headrace.errors import PeerError, Slug
from headrace.ike.config import IkeConfig
from headrace.ike.constants import COOKIE_OCTETS, HEADER_OCTETS, VERSION, Exchange, NotifyType, PayloadType, ProtocolId
from headrace.ike.context import Context, Received
from headrace.ike.events import Dropped, IkeEvent, Refused
from headrace.ike.main_mode import State
from headrace.ike.message import Header, TooManyPayloads, emit_message, parse_chain
from headrace.ike.payloads import BadProposal, Fragment, Notify, UnsupportedDoi, UnsupportedSituation
from headrace.ike.peer import Peer
from headrace.ike.phase1 import Phase1
from headrace.ike.refusal import Drop, Refuse, notify_for
from headrace.ike.responder import Responder
from headrace.ike.schedule import Schedule
from headrace.ike.throttle import Throttle
from headrace.model import Datagram, Endpoint, Failure, IPAddress, Rand
from headrace.wire import Malformed

_IKEV2_INIT = 34
_NO_COOKIE = bytes(COOKIE_OCTETS)
_Prefix: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network | IPAddress


@dataclass(frozen=True, slots=True)
class IkeStats:
    """How much there is of everything."""

    peers: int
    half_open: int
    children: int


class IkeEndpoint(Core[IkeEvent]):
    """IKEv1 for one or many remote machines, as initiator and responder, on one pair of ports."""

    def __init__(
        self,
        config: IkeConfig,
        rand: Rand,
        *,
        spi_free: Callable[[int], bool] = lambda _spi: True,
        ike_port: int = 500,
        natt_port: int = 4500,
        remote_natt_port: int = 4500,
    ) -> None:
        """``spi_free`` says whether the data plane can still take an inbound SPI.

        ``ike_port`` and ``natt_port`` are our own ports, of which a client may have others than a gateway; ``remote_natt_port`` is where
        an initiator floats to.
        """
        self._ctx = Context(config, rand, spi_free, ike_port, natt_port, remote_natt_port)
        self._peers: dict[int, Peer] = {}
        self._next_handle = 1
        self._by_cookies: dict[tuple[bytes, bytes], Peer | Responder] = {}
        self._by_identity: dict[tuple[str, bytes], dict[int, Peer]] = {}
        self._half_open: dict[tuple[bytes, bytes], Responder] = {}
        """Oldest first."""
        self._unproven: dict[tuple[bytes, bytes], Responder] = {}
        """Those of them whose address never answered; they are the first to make room."""
        self._first: dict[tuple[bytes, Endpoint], Responder] = {}
        """By initiator cookie and source of the first message, so that its repetition is known."""
        self._per_prefix: dict[_Prefix, int] = {}
        self._schedule: Schedule[Peer | Responder] = Schedule()
        self._throttle = Throttle()

    # -- the core's contract

    @property
    def config(self) -> IkeConfig:
        """What new negotiations go by."""
        return self._ctx.config

    @config.setter
    def config(self, config: IkeConfig) -> None:
        self._ctx.config = config

    def receive(self, datagram: Datagram, now: float) -> None:
        """Take a datagram without non-ESP marker. Never raises for anything that a peer sends."""
        try:
            self._take(datagram.data, datagram.local, datagram.remote, now, whole=False)
        except Drop as drop:
            self._ctx.drop(datagram.remote, drop)
        except PeerError as error:  # a table that has no row for what came
            self._ctx.drop(datagram.remote, Drop("ike_unexpected", str(error)))

    def poll_datagrams(self) -> list[Datagram]:
        """What is to be sent, oldest first; the marker belongs in front of those from the NAT-T port."""
        return self._ctx.datagrams.drain()

    def poll_events(self) -> list[IkeEvent]:
        """Events since the last call, oldest first. To be done before datagrams are sent: SAs are installed first."""
        return self._ctx.events.drain()

    def deadline(self) -> float | None:
        """When ``tick`` wants to be called."""
        return self._schedule.deadline()

    def tick(self, now: float) -> None:
        """Do what is due."""
        for owner in self._schedule.due(now):
            if isinstance(owner, Peer):
                owner.tick(now)
                self._rearm(owner)
            else:
                self._tick_half_open(owner, now)

    # -- what a driver asks for

    def initiate(self, local: Endpoint, remote: Endpoint, now: float) -> int:
        """Begin with a gateway; gives the handle under which its events will come.

        Success is ``PeerUp``, ``InstallSa`` and ``ChildUp``. Failure is ``Refused`` and then ``PeerDown`` with this handle, also where
        there never was a ``PeerUp``.
        """
        peer = self._new_peer(local, remote, now, initiator=True)
        known = any(other is not peer and other.remote.address == remote.address for other in self._peers.values())
        peer.begin(now, first_contact=not known)
        self._rearm(peer)
        return peer.handle

    def close_peer(self, peer: int, failure: Failure, now: float) -> None:
        """End a peer: deletes go out, ESP before ISAKMP; its SAs are removed; then ``PeerDown``. Nothing happens for one that is gone."""
        found = self._peers.get(peer)
        if found is not None:
            found.close(failure, now)

    def close_all(self, failure: Failure, now: float) -> None:
        """End every peer, and forget every half-open negotiation."""
        for peer in list(self._peers.values()):
            peer.close(failure, now)
        for half_open in list(self._half_open.values()):
            self._forget(half_open)

    def esp_activity(self, peer: int, now: float) -> None:
        """Authenticated ESP came from a peer."""
        found = self._peers.get(peer)
        if found is not None and found.esp_activity(now):
            self._rearm(found)

    def esp_moved(self, peer: int, remote: Endpoint, now: float) -> None:
        """Authenticated ESP came from a new address, and the data plane follows it already."""
        found = self._peers.get(peer)
        if found is not None:
            found.moved(remote)
            self.esp_activity(peer, now)

    def soft_limit(self, peer: int, spi: int, now: float) -> None:
        """An SA of a peer, named by either SPI, is near its volume or its last sequence number."""
        found = self._peers.get(peer)
        if found is not None:
            found.soft_limit(spi, now)
            self._rearm(found)

    def rekey_child(self, peer: int, now: float) -> None:
        """Renew the ESP SAs of a peer now."""
        found = self._peers.get(peer)
        if found is not None:
            found.rekey_child(now)
            self._rearm(found)

    def rekey_peer(self, peer: int, now: float) -> None:
        """Renew phase 1 with a peer now."""
        found = self._peers.get(peer)
        if found is not None:
            found.rekey_phase1(now)
            self._rearm(found)

    def keepalives(self, now: float) -> list[tuple[Endpoint, Endpoint]]:
        """Where one octet ff is to be sent now, as pairs of our end and theirs: a NAT stands before us and has seen nothing for a while."""
        return [(peer.local, peer.remote) for peer in self._peers.values() if peer.wants_keepalive(now)]

    def stats(self) -> IkeStats:
        """How much there is."""
        pending = sum(peer.pending is not None and not peer.up for peer in self._peers.values())
        return IkeStats(
            len(self._peers), len(self._half_open) + pending, sum(len(peer.children) for peer in self._peers.values())
        )

    # -- what peers ask for

    def attach(self, cookies: tuple[bytes, bytes], peer: Peer) -> None:
        """Messages with these cookies are this peer's."""
        self._by_cookies[cookies] = peer

    def detach(self, cookies: tuple[bytes, bytes]) -> None:
        """No longer."""
        self._by_cookies.pop(cookies, None)

    def gone(self, peer: Peer) -> None:
        """Forget a peer."""
        self._peers.pop(peer.handle, None)
        self._schedule.set(peer, None)
        for name in peer.names:
            namesakes = self._by_identity[name]
            del namesakes[peer.handle]
            if not namesakes:
                del self._by_identity[name]
        peer.names.clear()

    def named(self, peer: Peer, name: tuple[str, bytes]) -> None:
        """A peer has proven who it is."""
        peer.names.add(name)
        self._by_identity.setdefault(name, {})[peer.handle] = peer

    def began_anew(self, peer: Peer, phase1: Phase1, now: float) -> None:
        """INITIAL-CONTACT came under an ISAKMP SA that had been taken for a renewal: make it a peer of its own, and end the old one."""
        if len(peer.ikes) > 1 or len(peer.children):
            peer.release(phase1)
            fresh = self._new_peer(phase1.local, phase1.remote, now, initiator=False)
            peer.close(_REPLACED, now, tell=False)
        else:
            fresh = peer
        for stale in self._strangers(phase1, fresh):
            stale.close(_REPLACED, now, tell=False)
        if fresh is not peer:
            self._settle(fresh, phase1, now)

    # -- datagrams

    def _take(self, data: bytes, local: Endpoint, remote: Endpoint, now: float, *, whole: bool) -> None:
        """Find out whose a message is. Raises ``Drop``."""
        if len(data) < HEADER_OCTETS:
            raise Drop("ike_short")
        header = Header.parse(data)
        received = Received(header, data, local, remote)
        if header.length != len(data):
            raise Drop("ike_length")
        if header.version >> 4 != VERSION >> 4:
            self._wrong_version(received, now)
            return
        if header.cookie_i == _NO_COOKIE:
            raise Drop("ike_cookie", "an initiator cookie of zero")
        if header.exchange == Exchange.AGGRESSIVE:
            self._aggressive(received, now)
            return
        if header.exchange not in {Exchange.MAIN, Exchange.INFORMATIONAL, Exchange.QUICK}:
            raise Drop("ike_exchange")
        owner = self._by_cookies.get(header.cookies) or self._by_cookies.get((header.cookie_i, _NO_COOKIE))
        if header.next_payload == PayloadType.FRAGMENT and not header.encrypted:
            if whole or owner is None:
                raise Drop("ike_fragment")
            joined = self._join(owner, received, now)
            if joined is not None:
                self._take(joined, local, remote, now, whole=True)
        elif owner is None:
            if header.cookie_r != _NO_COOKIE or header.exchange != Exchange.MAIN:
                raise Drop("ike_cookie")
            self._first_message(received, now)
        elif isinstance(owner, Responder):
            self._half_open_message(owner, received, now)
        else:
            try:
                owner.receive(received, now)
            finally:
                self._rearm(owner)

    def _join(self, owner: Peer | Responder, received: Received, now: float) -> bytes | None:
        try:
            chain = parse_chain(received.header.next_payload, received.body, padded=False)
            fragment = chain.one(PayloadType.FRAGMENT, Fragment)
        except Malformed as error:
            raise Drop("ike_fragment", str(error)) from error
        if len(chain.items) != 1:
            raise Drop("ike_fragment", "other payloads beside a fragment")
        joined = owner.reassemble(received, fragment, now)
        self._rearm(owner)
        if joined is not None and joined[: 2 * COOKIE_OCTETS] != received.data[: 2 * COOKIE_OCTETS]:
            raise Drop("ike_fragment", "fragments of a message with other cookies")
        return joined

    def _first_message(self, received: Received, now: float) -> None:
        """Message 1 of a main mode: a new negotiation, or the repetition of one. Raises ``Drop``."""
        key = (received.header.cookie_i, received.remote)
        known = self._first.get(key)
        if known is not None:
            if not known.is_last_request(received):
                raise Drop("ike_unexpected", "another first message with the same cookie")
            known.repeat_answer(received, now)
            return
        self._make_room(received.remote)
        negotiation = Responder(self._ctx, received.local, received.remote, now)
        try:
            negotiation.begin(received, now)
        except Refuse as refusal:
            self._refuse_clear(received, refusal, now)
            return
        except (UnsupportedDoi, UnsupportedSituation, BadProposal) as error:
            self._refuse_clear(received, Refuse(notify_for(error), Slug.IKE_MALFORMED, str(error)), now)
            return
        except Malformed as error:
            self._malformed(received, error, now)
        self._by_cookies[negotiation.cookies] = negotiation
        self._half_open[negotiation.cookies] = self._unproven[negotiation.cookies] = negotiation
        self._first[key] = negotiation
        prefix = _prefix(received.remote.address)
        self._per_prefix[prefix] = self._per_prefix.get(prefix, 0) + 1
        negotiation.first_remote = received.remote
        self._rearm(negotiation)

    def _make_room(self, remote: Endpoint) -> None:
        """Bound what strangers can make us keep. Raises ``Drop``."""
        config = self._ctx.config
        if (
            len(self._peers) >= config.max_peers
            or self._per_prefix.get(_prefix(remote.address), 0) >= config.max_half_open_per_address
        ):
            raise Drop("ike_half_open_limit")
        if len(self._half_open) >= config.max_half_open:
            oldest = next(iter(self._unproven.values()), None)
            if oldest is None:
                raise Drop("ike_half_open_limit")
            self._forget(oldest)
            self._ctx.events.put(Dropped(oldest.first_remote, "ike_half_open_evicted"))

    def _half_open_message(self, negotiation: Responder, received: Received, now: float) -> None:
        """Messages 3 and 5. Raises ``Drop``."""
        try:
            negotiation.receive(received, now)
        except Refuse as refusal:
            if refusal.reason:
                negotiation.hint = refusal.failure
                if refusal.notify is not None:
                    self._notify_clear(received, refusal.notify, now)
                raise Drop(refusal.reason, str(refusal)) from refusal
            if refusal.notify is not None and negotiation.channel is not None:
                self._ctx.send(received.local, received.remote, negotiation.refusal_message(refusal.notify))
            self._forget(negotiation)
            self._ctx.events.put(Refused(received.remote, refusal.failure))
            return
        except Malformed as error:
            self._malformed(received, error, now)
        finally:
            if negotiation.hopeless and not negotiation.reported:
                negotiation.reported = True
                self._ctx.events.put(Refused(negotiation.remote, negotiation.failure()))
        if negotiation.state is not State.WAIT_3:
            self._unproven.pop(negotiation.cookies, None)
        if negotiation.phase1 is not None:
            self._forget(negotiation)
            self._complete(negotiation.phase1, now)

    def _complete(self, phase1: Phase1, now: float) -> None:
        """Message 5 was good: a new peer, or an old one that renews phase 1."""
        if phase1.initial_contact:
            for stale in self._strangers(phase1, None):
                stale.close(_REPLACED, now, tell=False)
        peer = next((peer for peer in self._namesakes(phase1) if peer.remote == phase1.remote), None)
        if peer is None:
            peer = self._new_peer(phase1.local, phase1.remote, now, initiator=False)
        self._settle(peer, phase1, now)

    def _settle(self, peer: Peer, phase1: Phase1, now: float) -> None:
        peer.adopt(phase1, now)
        self._rearm(peer)

    def _namesakes(self, phase1: Phase1) -> list[Peer]:
        """Peers that proved themselves in the same way as the same."""
        return list(self._by_identity.get(phase1.name, {}).values())

    def _strangers(self, phase1: Phase1, but: Peer | None) -> list[Peer]:
        """What INITIAL-CONTACT takes away: peers of the same identity and address.

        With a pre-shared key the identity is a private address that strangers behind other NATs have too, and behind one large NAT even
        with the same outer address: there the port must agree as well (RFC 3947 section 6).
        """
        return [
            peer
            for peer in self._namesakes(phase1)
            if peer is not but
            and (peer.remote == phase1.remote if phase1.auth == "psk" else peer.remote.address == phase1.remote.address)
        ]

    def _new_peer(self, local: Endpoint, remote: Endpoint, now: float, *, initiator: bool) -> Peer:
        peer = Peer(self, self._ctx, self._next_handle, local, remote, now, initiator=initiator)
        self._next_handle += 1
        self._peers[peer.handle] = peer
        return peer

    def _rearm(self, owner: Peer | Responder) -> None:
        if isinstance(owner, Peer):
            self._schedule.set(owner, None if owner.down else owner.deadline())
        elif owner.cookies in self._half_open:
            self._schedule.set(owner, owner.deadline())

    def _tick_half_open(self, negotiation: Responder, now: float) -> None:
        failure = negotiation.tick(now)
        if failure is None:
            self._rearm(negotiation)
            return
        self._forget(negotiation)
        if not negotiation.reported:
            self._ctx.events.put(Refused(negotiation.remote, failure))

    def _forget(self, negotiation: Responder) -> None:
        """A negotiation is no longer half-open: it is over, or established."""
        if self._half_open.pop(negotiation.cookies, None) is None:
            return
        self._by_cookies.pop(negotiation.cookies, None)
        self._unproven.pop(negotiation.cookies, None)
        self._first.pop((negotiation.cookie_i, negotiation.first_remote), None)
        self._schedule.set(negotiation, None)
        if negotiation.phase1 is None:
            negotiation.reassembly.clear()
        prefix = _prefix(negotiation.first_remote.address)
        left = self._per_prefix[prefix] - 1
        if left:
            self._per_prefix[prefix] = left
        else:
            del self._per_prefix[prefix]

    # -- saying no in clear

    def _wrong_version(self, received: Received, now: float) -> None:
        """IKEv2 tries first where a client is set to "automatic": tell it, once. Raises ``Drop``."""
        header = received.header
        if (
            header.version >> 4 == 2
            and header.exchange == _IKEV2_INIT
            and header.cookie_r == _NO_COOKIE
            and header.cookie_i != _NO_COOKIE
        ):
            detail = f"the peer speaks IKE version {header.version >> 4}, only version 1 is served here"
            self._refuse_clear(received, Refuse(NotifyType.INVALID_MAJOR_VERSION, Slug.IKE_VERSION, detail), now)
        else:
            raise Drop("ike_version")

    def _aggressive(self, received: Received, now: float) -> None:
        """Aggressive mode would give a stranger a hash of the pre-shared key to try words on. Raises ``Drop``."""
        if received.header.cookie_r != _NO_COOKIE:
            raise Drop("ike_exchange")
        detail = "the peer began with aggressive mode, which is never answered: choose main mode on its side"
        self._refuse_clear(received, Refuse(NotifyType.INVALID_EXCHANGE_TYPE, Slug.IKE_AGGRESSIVE, detail), now)

    def _malformed(self, received: Received, error: Malformed, now: float) -> None:
        """Raises ``Drop``."""
        self._notify_clear(received, NotifyType.PAYLOAD_MALFORMED, now)
        reason = "ike_too_many_payloads" if isinstance(error, TooManyPayloads) else "ike_malformed"
        raise Drop(reason, str(error)) from error

    def _refuse_clear(self, received: Received, refusal: Refuse, now: float) -> None:
        if refusal.notify is not None:
            self._notify_clear(received, refusal.notify, now)
        self._ctx.events.put(Refused(received.remote, refusal.failure))

    def _notify_clear(self, received: Received, notify: NotifyType, now: float) -> None:
        """A notification in clear, not more than one a second an address, never longer than twice what it answers."""
        if not self._throttle.allow(received.remote.address, now):
            return
        cookie_r = received.header.cookie_r if any(received.header.cookie_r) else self._ctx.cookie()
        header = Header(received.header.cookie_i, cookie_r, PayloadType.NONE, Exchange.INFORMATIONAL, 0, self._ctx.message_id())
        data = emit_message(header, [(PayloadType.NOTIFY, Notify(notify, ProtocolId.ISAKMP).emit())])
        self._ctx.send(received.local, received.remote, data)


_REPLACED = Failure(Slug.REPLACED, "the same machine began anew and says that it knows of no other SA (INITIAL-CONTACT)")


def _prefix(address: IPAddress) -> _Prefix:
    """What one household has: an IPv4 address, an IPv6 network of 64 bits."""
    return address if address.version == 4 else ipaddress.ip_network((address, 64), strict=False)
