"""One PPP link through its phases (RFC 1661 section 3): establish, authenticate, network, terminate. The way in to this room.

Frames go straight: ``receive`` -> the protocol that owns the number -> its automaton -> frames and events out. A protocol never
acts on another one: it leaves a notice or a failure with the link, and the link acts when that protocol has finished its own step
(``_settle``). So no automaton is ever entered twice.

What data may flow is said before it can: ``EncryptionDecided`` comes first, then ``MppeUp`` where encryption is required, and only
then does IPCP open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from typing import Final

from headrace.core import Outbox, earliest
from headrace.errors import PeerError, Slug
from headrace.model import Encryption, Failure, Rand, printable
from headrace.ppp.auth import AuthClient, AuthServer, Keys
from headrace.ppp.automaton import ControlProtocol, Notice, State, timeout_failure
from headrace.ppp.bcp import Bcp
from headrace.ppp.ccp import Ccp
from headrace.ppp.chap import ChapMd5Client, ChapMd5Server
from headrace.ppp.config import AuthAccept, AuthMethod, AuthResult, LinkConfig
from headrace.ppp.eap_link import EapAuthClient, EapAuthServer
from headrace.ppp.events import (
    Authenticated,
    AuthRequest,
    Carried,
    Dropped,
    EncryptionDecided,
    LcpUp,
    LinkDown,
    MultilinkLeft,
    MultilinkOffered,
    PppEvent,
    ProtocolRejected,
    Settled,
)
from headrace.ppp.frame import DEFAULT_MRU, Code, Frame, Packet, Proto, protocol_name
from headrace.ppp.ipcp import Ipcp
from headrace.ppp.ipv6cp import Ipv6cp
from headrace.ppp.ipxcp import Ipxcp
from headrace.ppp.lcp import Lcp
from headrace.ppp.mschap import MsChapClient, MsChapServer, MsChapV2Client, MsChapV2Server
from headrace.ppp.multilink import Terms
from headrace.ppp.network import Grant, NetworkProtocol, is_required
from headrace.ppp.pap import PapClient, PapServer
from headrace.ppp.terminate import peer_reason
from headrace.wire import Malformed

AUTHENTICATION: Final[Mapping[AuthMethod, tuple[type[AuthServer], type[AuthClient]]]] = {
    AuthMethod.PAP: (PapServer, PapClient),
    AuthMethod.CHAP_MD5: (ChapMd5Server, ChapMd5Client),
    AuthMethod.MSCHAP: (MsChapServer, MsChapClient),
    AuthMethod.MSCHAP_V2: (MsChapV2Server, MsChapV2Client),
    AuthMethod.EAP: (EapAuthServer, EapAuthClient),
}
"""Who demands and who gives the proof, for each method."""

NCPS: Final[tuple[type[NetworkProtocol], ...]] = (Ccp, Ipcp, Ipv6cp, Ipxcp, Bcp)
"""The control protocols of the network phase, in the order in which they begin."""

_USER_DATA: Final = frozenset({Proto.IPV4, Proto.IPV6, Proto.IPX, Proto.BRIDGED, Proto.VJ_COMPRESSED, Proto.VJ_UNCOMPRESSED})
_ENCRYPTED: Final = range(0x0021, 0x00FB)
"""What MPPE encrypts (RFC 3078 section 3.1); control protocols are never."""
_COMPRESSED: Final = frozenset({Proto.COMPRESSED, Proto.COMPRESSED_LINK})
_NAMED: Final = frozenset(Proto)

_MPPE_ROOM: Final = 4
"""Octets of an information field that MPPE needs for itself (RFC 3078 section 3)."""

OPENINGS: Final = 16
"""How often LCP may come up on one link. Nobody renegotiates more than once or twice; who does it all the time wants our work."""

NCP_OPENINGS: Final = 64
"""How often network protocols may come up on one link, all counted: each time routes and keys are set anew."""

GARBAGE_LIMIT: Final = 32
"""Frames with senseless protocol numbers, with MPPE up and no user data between them, that prove that the keys differ."""

ADDRESSLESS_GRACE: Final = 3.0
"""Seconds that a client without an address is given to understand the Protocol-Reject of its IPCP and to end the link itself: it
then shows 720, and not that somebody hung up."""


class Phase(Enum):
    """Where the link stands (RFC 1661 section 3.2)."""

    DEAD = "dead"
    ESTABLISH = "establish"
    AUTHENTICATE = "authenticate"
    NETWORK = "network"
    TERMINATE = "terminate"


class Link:
    """One link, either role. See ``headrace.core`` for how it is driven."""

    def __init__(self, config: LinkConfig, rand: Rand) -> None:
        self.config = config
        self.phase = Phase.DEAD
        self.peer_name = ""
        """The authenticated user (server: the account's name; client: what the server calls itself), empty before that."""
        self._rand = rand
        self._frames: Outbox[bytes] = Outbox()
        self._events: Outbox[PppEvent] = Outbox()
        self._notices: deque[tuple[ControlProtocol, Notice]] = deque()
        self._doom: tuple[Failure, bool] | None = None
        self._ending: tuple[Failure, bool] | None = None
        self._ended = False
        self._lcp = Lcp(self, config, rand)
        self._auth: AuthServer | AuthClient | None = None
        self._requests = 0
        self._pending: int | None = None
        self._ncps: dict[int, NetworkProtocol] = {}
        self._encrypted = False
        self._settled = False
        self._terms: Terms | None = None
        self._follows = False
        self._parked: dict[int, bytes] = {}
        self._grant: Grant | None = None
        self._openings = 0
        self._ncp_openings = 0
        self._garbage = 0
        self._last_words: Failure | None = None
        self._no_address = "no address to give"
        self._start_at: float | None = None
        self._auth_until: float | None = None
        self._network_until: float | None = None
        self._no_address_at: float | None = None

    # --- the way in -------------------------------------------------------------------------------------------------------

    def open(self, now: float) -> None:
        """The lower layer is up: begin to establish the link."""
        if self.phase is not Phase.DEAD or self._ended:
            return
        self.phase = Phase.ESTABLISH
        self._lcp.open(now)
        if self.config.passive_start > 0:
            self._start_at = now + self.config.passive_start
        else:
            self._lcp.up(now)
        self._settle(now)

    def receive(self, frame: bytes, now: float, *, encrypted: bool = False) -> None:
        """Take one frame from the peer: protocol and information, with or without ``ff 03``. Never raises for its content.

        ``encrypted``: it came out of MPPE.
        """
        self._encrypted = encrypted
        with self._counting_flaws():
            self._dispatch(Frame.parse(frame), now)
        self._settle(now)

    def carry(self, protocol: int, information: bytes) -> bool:
        """Send a packet of a network protocol. False if that protocol is not open now, or the packet larger than the peer takes."""
        if not self._carries(protocol) or len(information) > self.send_limit() - (_MPPE_ROOM if self._encrypting() else 0):
            return False
        self.send(protocol, information)
        return True

    def auth_result(self, request: int, result: AuthResult, now: float) -> None:
        """The verdict on an ``AuthRequest``. One that is no longer waited for is ignored."""
        if request != self._pending or not isinstance(self._auth, AuthServer):
            return
        self._pending = None
        self._auth.result(result, now)
        self._auth_until = now + max(self.config.auth_timeout, self._auth.patience)
        self._settle(now)

    def close(self, failure: Failure, now: float) -> None:
        """End the link for this reason: Terminate-Request in the layout of Windows, ``LinkDown`` when the peer has heard or is gone."""
        self.fail(failure)
        self._settle(now)

    @property
    def reason(self) -> Failure | None:
        """Why the link is ending or has ended, ``None`` while it is not: the truth when the lower layer goes first."""
        return self._ending[0] if self._ending is not None else self._last_words

    def mppe_lost(self, now: float) -> None:
        """The data plane cannot decrypt (stateful MPPE): have the peer flush."""
        ccp = self._ccp()
        if ccp is not None:
            ccp.lost(now)

    def withdraw(self, protocol: int, now: float) -> None:
        """Close one network protocol, by the number of its control protocol; the link goes on with the others."""
        layer = self._ncps.get(protocol)
        if layer is not None:
            layer.close(now)
            self._settle(now)

    def time_remaining(self, seconds: float, text: str = "") -> None:
        """Tell the peer how long the link will last (RFC 1570 section 2.2)."""
        data = max(0, min(int(seconds), 0xFFFFFFFE)).to_bytes(4, "big") + text.encode()
        self._lcp.announce(Code.TIME_REMAINING, data)

    def saw_data(self, now: float) -> None:
        """User data arrived: the peer lives, and its keys fit."""
        self._garbage = 0
        self._lcp.alive(now)

    def poll_frames(self) -> list[bytes]:
        """Frames to send, oldest first: protocol and information."""
        return self._frames.drain()

    def poll_events(self) -> list[PppEvent]:
        """Events since the last call, oldest first."""
        return self._events.drain()

    def deadline(self) -> float | None:
        """When ``tick`` wants to be called."""
        if self._ended:
            return None
        timed = (self._lcp, *((self._auth,) if self._auth else ()), *self._ncps.values())
        own = (self._start_at, self._auth_until, self._network_until, self._no_address_at)
        return earliest((*(layer.deadline() for layer in timed), *own))

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._ended:
            return
        if self._start_at is not None and now >= self._start_at:
            self._begin(now)
        self._lcp.tick(now)
        self._settle(now)
        if self._auth is not None:
            self._auth.tick(now)
        for layer in list(self._ncps.values()):
            layer.tick(now)
        self._settle(now)
        self._time_out(now)
        self._settle(now)

    # --- frames -----------------------------------------------------------------------------------------------------------

    @contextmanager
    def _counting_flaws(self) -> Iterator[None]:
        """The one place where what a peer did wrong is caught: it is counted, and the link goes on."""
        try:
            yield
        except Malformed as error:
            self.drop(f"{error.layer}_{error.field}")
        except PeerError:
            self.drop("ppp_unexpected")

    def _dispatch(self, frame: Frame, now: float) -> None:
        if self._ended:
            self._answer_late(frame, now)
        elif self.phase is Phase.DEAD:
            self.drop("ppp_phase")
        elif frame.protocol == Proto.LCP:
            if self._start_at is not None:
                self._begin(now)
            self._lcp.receive(frame.information, now)
            self._lcp.alive(now)
        elif not self._lcp.opened or self.phase not in {Phase.AUTHENTICATE, Phase.NETWORK}:
            self.drop("ppp_phase")
        elif self._auth is not None and frame.protocol == self._auth.protocol:
            self._lcp.alive(now)
            self._auth.receive(frame.information, now)
        elif self.phase is Phase.AUTHENTICATE:
            self._dispatch_early(frame, now)
        else:
            self._dispatch_network(frame, now)

    def _dispatch_early(self, frame: Frame, now: float) -> None:
        """Section 3.5: nothing else is looked at before the peer is known, but it may show that it knows us."""
        if frame.protocol in {Proto.IPCP, Proto.CCP, Proto.IPV6CP} and self._auth is not None and self._auth.implied():
            self._settle(now)
            self._dispatch_network(frame, now)
        else:
            self.drop("ppp_phase")

    def _dispatch_network(self, frame: Frame, now: float) -> None:
        if self._follows or (frame.protocol == Proto.MULTILINK and self._terms is not None):
            self._lcp.alive(now)
            self.emit(Carried(frame.protocol, frame.information))
            return
        layer = self._ncps.get(frame.protocol)
        if layer is not None:
            self._lcp.alive(now)
            if layer.state in {State.INITIAL, State.STARTING}:
                self._park(frame)
            else:
                layer.receive(frame.information, now)
        elif frame.protocol in _COMPRESSED:
            self.drop("mppe_not_open")
        elif frame.protocol in _ENCRYPTED and self._required() and not self._encrypted:
            self.drop("mppe_cleartext")
        elif self._carries(frame.protocol):
            self._lcp.alive(now)
            self.emit(Carried(frame.protocol, frame.information))
        elif frame.protocol in _USER_DATA:
            self.drop("ppp_not_open")
        else:
            self._unknown(frame, now)

    def _carries(self, protocol: int) -> bool:
        """Whether packets of this protocol may pass now."""
        if self.phase is not Phase.NETWORK:
            return False
        if protocol in self.config.foreign:
            return True
        return any(layer.opened and protocol in layer.data_protocols for layer in self._ncps.values())

    def _park(self, frame: Frame) -> None:
        """Keep the last Configure-Request of a protocol that may begin only when encryption is up, and answer it then."""
        if Packet.parse(frame.information, "ppp").code == Code.CONFIGURE_REQUEST and len(frame.information) <= DEFAULT_MRU:
            self._parked[frame.protocol] = frame.information
        else:
            self.drop("ppp_phase")

    def _unknown(self, frame: Frame, now: float) -> None:
        keyless = frame.protocol == Proto.CCP and self._grant is not None and self._grant.encryption is not Encryption.OFF
        self.drop("ccp_no_keys" if keyless else "ppp_protocol")
        self._lcp.reject_protocol(frame.protocol, frame.information, now)
        if frame.protocol == Proto.IPCP and self._no_address_at is None:
            self._no_address_at = now + ADDRESSLESS_GRACE
        if frame.protocol not in _NAMED:
            self._count_garbage()

    def _count_garbage(self) -> None:
        if self._encrypting():
            self._garbage += 1
            if self._garbage >= GARBAGE_LIMIT:
                self.fail(Failure(Slug.MPPE_KEYS_DIFFER, f"{self._garbage} frames in a row with protocols that nobody speaks"))

    def _answer_late(self, frame: Frame, now: float) -> None:
        """After the end: a Terminate-Request that is repeated is still answered, all else is silence."""
        if frame.protocol == Proto.LCP and Packet.parse(frame.information, "lcp").code == Code.TERMINATE_REQUEST:
            self._lcp.receive(frame.information, now)

    # --- the port of the protocols ----------------------------------------------------------------------------------------

    def send(self, protocol: int, information: bytes) -> None:
        """Queue one frame (``Port``)."""
        self._frames.put(Frame(protocol, information).emit())

    def emit(self, event: PppEvent) -> None:
        """Queue one event (``Port``)."""
        if not self._ended:
            self._events.put(event)

    def drop(self, reason: str) -> None:
        """Count an input that was ignored (``Port``)."""
        self.emit(Dropped(reason))

    def notice(self, layer: ControlProtocol, what: Notice) -> None:
        """Remember what a layer says, for ``_settle`` (``Port``)."""
        self._notices.append((layer, what))

    def fail(self, failure: Failure, by_peer: bool = False) -> None:
        """Remember why the link must end, for ``_settle`` (``Port``)."""
        if self._doom is None and self._ending is None:
            self._doom = (failure, by_peer)

    def send_limit(self) -> int:
        """The largest information field that may be sent now (``Port``)."""
        return min(self._lcp.theirs.mru if self._lcp.opened else DEFAULT_MRU, self.config.max_send_mru)

    def peer_terminates(self, data: bytes) -> None:
        """LCP got a Terminate-Request (``LcpPort``). In the middle of establishing it ends nothing yet, but it will be the reason."""
        failure = peer_reason(data, self.config.server, self._encrypting())
        if self._no_address_at is not None:
            failure = Failure(Slug.POOL_EMPTY, f"{self._no_address}; {failure.detail}")
        ccp = self._ccp()
        if ccp is not None and ccp.mismatch and failure.slug in {Slug.ENCRYPTION_LOCAL, Slug.ENCRYPTION_REFUSED}:
            # It has MPPE, too: it went first, over a strength or mode that differs.
            failure = Failure(Slug.ENCRYPTION_STRENGTH, f"{ccp.mismatch}; {failure.detail}")
        if self._auth is not None and self._auth.doom is not None and self.phase is Phase.AUTHENTICATE:
            # We know more than a peer that hangs up in silence, or says what we have told it.
            told = failure.slug not in {Slug.USER_REQUEST, Slug.PEER_CLOSED, Slug.LCP_TERMINATED} and not self.config.server
            failure = failure if told else self._auth.doom
        if self._lcp.opened:
            self.fail(failure, by_peer=True)
        elif self._ending is None:
            self._last_words = failure

    def peer_rejects(self, protocol: int, now: float) -> None:
        """LCP got a Protocol-Reject (``LcpPort``)."""
        layer = self._ncps.get(protocol)
        if layer is not None:
            layer.protocol_rejected(now)
        elif self._auth is not None and protocol == self._auth.protocol:
            self.fail(Failure(Slug.AUTH_NO_COMMON, f"the peer rejects {protocol_name(protocol)} after agreeing to it"))
        elif protocol in self.config.foreign:
            self.emit(ProtocolRejected(protocol))
        elif protocol not in _NAMED or protocol == Proto.COMPRESSED:
            self._count_garbage()  # it saw a number that we never sent

    def rand(self, size: int) -> bytes:
        """Octets at random (``Port``)."""
        return self._rand(size)

    # --- the port of authentication ---------------------------------------------------------------------------------------

    def ask(
        self, method: AuthMethod, username: bytes, identifier: int, challenge: bytes, response: bytes, change: bytes = b""
    ) -> None:
        """Pass a proof to whoever can check it (``AuthPort``)."""
        self._requests += 1
        self._pending = self._requests
        self.emit(AuthRequest(self._requests, method, username, identifier, challenge, response, change))

    def admitted(self, grant: AuthAccept) -> None:
        """The user is in (``AuthPort``)."""
        keys = None
        if grant.mppe_send_key and grant.mppe_recv_key:
            keys = Keys(send=grant.mppe_send_key, receive=grant.mppe_recv_key, bits=grant.mppe_bits)
        self.peer_name = grant.username
        self._no_address = grant.address_failure or self._no_address
        self._grant = Grant(
            encryption=self.config.encryption if grant.encryption is None else grant.encryption,
            keys=keys,
            address=grant.address,
            dns=grant.dns,
            wins=grant.wins,
            allow_any_address=grant.allow_any_address,
            prefix6=grant.prefix6,
        )

    def recognised(self, server_name: bytes, keys: Keys | None) -> None:
        """The server accepts us (``AuthPort``)."""
        self.peer_name = printable(server_name, 100)
        self._grant = Grant(encryption=self.config.encryption, keys=keys, address=self.config.local_address)

    # --- phases -----------------------------------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        """Act on what the protocols left behind, until nothing is left."""
        while self._doom or self._notices or (self._grant is not None and self.phase is Phase.AUTHENTICATE):
            if self._doom:
                (failure, by_peer), self._doom = self._doom, None
                self._end(failure, by_peer, now)
            elif self._notices:
                layer, what = self._notices.popleft()
                if isinstance(layer, Lcp):
                    self._lcp_notice(what, now)
                elif isinstance(layer, NetworkProtocol) and self._ncps.get(layer.protocol) is layer:
                    self._ncp_notice(layer, what, now)
            else:
                self._enter_network(now)

    def _begin(self, now: float) -> None:
        self._start_at = None
        self._lcp.up(now)

    def _lcp_notice(self, what: Notice, now: float) -> None:
        if what is Notice.UP and self.phase is Phase.ESTABLISH:
            self._lcp_up(now)
        elif what is Notice.DOWN:
            self._lcp_down(now)
        elif what is Notice.FINISHED:
            unasked = (self._last_words, True) if self._last_words else (timeout_failure(self._lcp, Slug.LCP_TIMEOUT), False)
            self._finish(*(self._ending or unasked))

    def _lcp_up(self, now: float) -> None:
        self._openings += 1
        self._last_words = None  # the peer has thought better of it
        if self._openings > OPENINGS:
            self.fail(Failure(Slug.LCP_NOT_CONVERGING, f"the peer has made LCP start anew {OPENINGS} times"))
            return
        ours, theirs = self._lcp.ours, self._lcp.theirs
        method = ours.auth if self.config.server else theirs.auth
        self.emit(
            LcpUp(
                send_mru=min(theirs.mru, self.config.max_send_mru),
                send_acfc=theirs.acfc,
                send_pfc=theirs.pfc,
                auth=method,
                send_accm=theirs.accm,
            )
        )
        if self.config.identification:
            self._lcp.announce(Code.IDENTIFICATION, self.config.identification.encode())
        self.phase = Phase.AUTHENTICATE
        if self._auth_until is None:  # LCP that starts anew buys no time
            self._auth_until = now + self.config.auth_timeout
        if method is None:
            self._without_authentication()
            return
        server, client = AUTHENTICATION[method]
        self._auth = (server if self.config.server else client)(self, self.config, self._rand)
        self._auth.start(now)

    def _without_authentication(self) -> None:
        if self.config.server and self.config.auth_methods:
            self.fail(Failure(Slug.AUTH_NO_COMMON, "LCP came up without the authentication that is demanded"))
        elif not self.config.server and self.config.credentials is not None:
            self.fail(Failure(Slug.AUTH_NO_COMMON, "the server asks for no authentication, so it cannot prove itself either"))
        else:
            self._grant = Grant(
                encryption=self.config.encryption,
                address=self.config.peer_address if self.config.server else self.config.local_address,
            )

    def _lcp_down(self, now: float) -> None:
        self._auth = None
        self._pending = None
        self._grant = None
        self.peer_name = ""
        self._leave_network(now)
        if self.phase in {Phase.AUTHENTICATE, Phase.NETWORK}:
            self.phase = Phase.ESTABLISH

    def _leave_network(self, now: float) -> None:
        for layer in self._ncps.values():
            layer.down(now)
        self._ncps.clear()
        self._parked.clear()
        self._network_until = self._no_address_at = None
        self._settled = self._follows = False
        if self._terms is not None:
            self._terms = None
            self.emit(MultilinkLeft())
        self._garbage = 0

    def _enter_network(self, now: float) -> None:
        """The peer is known: decide on encryption, and begin the network protocols that this link has."""
        assert self._grant is not None
        grant = self._grant
        self.phase = Phase.NETWORK
        self._auth_until = None
        self._network_until = now + self.config.network_timeout
        self.emit(
            Authenticated(self.peer_name if self.config.server else self._own_name(), self._auth.method if self._auth else None)
        )
        required = is_required(grant.encryption)
        self.emit(EncryptionDecided(required=required))
        self._terms = None if required else self._lcp.multilink
        if self._terms is not None:
            self.emit(MultilinkOffered(self._terms))
        else:
            self._open_network(now)

    def lead(self, now: float) -> None:
        """Answer to ``MultilinkOffered``: the network protocols of the bundle are on this link."""
        if self._terms is not None and not self._ncps and not self._follows:
            self._open_network(now)
            self._settle(now)

    def follow(self, now: float) -> None:
        """Answer to ``MultilinkOffered``: another link leads; every frame of this one that is not LCP comes as ``Carried``."""
        if self._terms is not None and not self._ncps:
            self._follows = True
            self._network_until = None
            self._settle(now)

    def fragment(self, information: bytes) -> None:
        """Send one fragment of a bundle."""
        if self._terms is not None:
            self.send(Proto.MULTILINK, information)

    def is_open(self, protocol: int) -> bool:
        """Whether packets of this protocol may pass now."""
        return self._carries(protocol)

    def _open_network(self, now: float) -> None:
        assert self._grant is not None
        grant, config = self._grant, self.config
        required = is_required(grant.encryption)
        if grant.keys is not None and not set(config.mppe_bits) <= set(grant.keys.bits):
            config = replace(config, mppe_bits=tuple(bits for bits in config.mppe_bits if bits in grant.keys.bits))
        kinds = [kind for kind in NCPS if self._terms is None or kind is not Ccp]  # compression of a bundle is not done here
        self._ncps = {kind.protocol: kind(self, config, grant) for kind in kinds if kind.wanted(config, grant)}
        if required and Proto.CCP not in self._ncps:
            self.fail(self._no_keys(grant))
            return
        ccp = self._ccp()
        if ccp is not None:
            if required or self.config.prefer_mppe or self.config.compression:
                ccp.open(now)
                ccp.up(now)
            else:
                ccp.listen()
        if not required:
            self._start_network(now)

    def _no_keys(self, grant: Grant) -> Failure:
        if grant.keys is not None and len(grant.keys.send) >= 16:
            return Failure(
                Slug.ENCRYPTION_STRENGTH, f"policy {grant.encryption} and strengths {self.config.mppe_bits} leave none"
            )
        method = self._auth.method if self._auth else "no authentication"
        return Failure(Slug.ENCRYPTION_NO_KEYS, f"policy {grant.encryption}, but {method} gave no keys for MPPE")

    def _own_name(self) -> str:
        return self.config.credentials.username if self.config.credentials else ""

    def _start_network(self, now: float) -> None:
        """Open what waits, and answer what the peer has asked of it meanwhile."""
        for protocol, layer in list(self._ncps.items()):
            if layer.state is State.INITIAL:
                layer.open(now)
                layer.up(now)
                parked = self._parked.pop(protocol, None)
                if parked is not None:
                    with self._counting_flaws():
                        layer.receive(parked, now)

    def _ncp_notice(self, layer: NetworkProtocol, what: Notice, now: float) -> None:
        if isinstance(layer, Ccp):
            self._ccp_notice(layer, what, now)
        elif what is Notice.DIVERGED:
            layer.close(now)
        elif what is Notice.FINISHED and not any(other.alive for other in self._carriers()):
            self.fail(self._nothing_left(layer))
        if what is Notice.UP:
            self._count_opening(layer)
        if self._network_complete():
            self._network_until = None
            self._tell_settled()
        elif what is not Notice.FINISHED and self._network_until is None:
            self._network_until = now + self.config.network_timeout

    def _nothing_left(self, last: NetworkProtocol) -> Failure:
        """Why the link has no network protocol: what was refused first counts, and IPv4 most."""
        layer = next((layer for layer in self._carriers() if layer.refusal), last)
        return Failure(layer.slug, layer.refusal) if layer.refusal else timeout_failure(layer, layer.slug)

    def _tell_settled(self) -> None:
        if not self._settled:
            self._settled = True
            self.emit(Settled())

    def _count_opening(self, layer: NetworkProtocol) -> None:
        self._ncp_openings += 1
        if self._ncp_openings > NCP_OPENINGS:
            self.fail(Failure(layer.slug, f"the peer has made network protocols start anew {NCP_OPENINGS} times"))

    def _ccp_notice(self, ccp: Ccp, what: Notice, now: float) -> None:
        if what is Notice.UP:
            self._garbage = 0
            if ccp.encrypting:
                self._start_network(now)
            elif not ccp.required and not ccp.compressing:
                ccp.close(now)  # agreed on nothing: that is no reason to keep it
        elif what is Notice.FINISHED and ccp.required:
            self.fail(timeout_failure(ccp, ccp.slug))

    def _network_complete(self) -> bool:
        return self._network_open() and all(layer.opened or not layer.alive for layer in self._carriers())

    def _carriers(self) -> list[NetworkProtocol]:
        """The network protocols that bring packets, in the order of ``NCPS``."""
        return [layer for layer in self._ncps.values() if not isinstance(layer, Ccp)]

    def _ccp(self) -> Ccp | None:
        layer = self._ncps.get(Proto.CCP)
        return layer if isinstance(layer, Ccp) else None

    def _encrypting(self) -> bool:
        ccp = self._ccp()
        return ccp is not None and ccp.encrypting

    def _required(self) -> bool:
        return self._encrypting() or (self._grant is not None and is_required(self._grant.encryption))

    # --- the end ----------------------------------------------------------------------------------------------------------

    def _time_out(self, now: float) -> None:
        if self._auth_until is not None and now >= self._auth_until and self.phase is not Phase.TERMINATE:
            self._auth_until = None
            doom = self._auth.doom if self._auth is not None else None
            self.fail(doom or Failure(Slug.AUTH_TIMEOUT, self._who_is_silent()))
        if self._network_until is not None and now >= self._network_until:
            self._network_until = None
            if self._network_open():
                self._tell_settled()
            else:
                self.fail(self._network_failure())
        if self._no_address_at is not None and now >= self._no_address_at:
            self._no_address_at = None
            self.fail(Failure(Slug.POOL_EMPTY, self._no_address))

    def _who_is_silent(self) -> str:
        seconds = f"{self.config.auth_timeout:.0f} s"
        if self._pending is not None:
            return f"no verdict on the user's proof from our own side within {seconds}"
        return f"no {'proof' if self.config.server else 'verdict'} from the peer within {seconds}"

    def _network_open(self) -> bool:
        """Whether packets of one protocol at least can pass: then the others may be missing."""
        ccp = self._ccp()
        return (ccp is None or not ccp.required or ccp.encrypting) and any(layer.opened for layer in self._carriers())

    def _network_failure(self) -> Failure:
        ccp = self._ccp()
        if ccp is not None and ccp.required and not ccp.encrypting:
            return timeout_failure(ccp, ccp.slug)
        layer = next(iter(self._carriers()), None)
        if layer is None:
            return Failure(Slug.POOL_EMPTY, self._no_address)
        return timeout_failure(layer, layer.slug)

    def _end(self, failure: Failure, by_peer: bool, now: float) -> None:
        if self._ended or self._ending is not None:
            return
        self._ending = (failure, by_peer)
        self.phase, was = Phase.TERMINATE, self.phase
        self._auth = None
        self._pending = None
        self._start_at = self._auth_until = None
        if was is Phase.DEAD or by_peer:
            # The peer's Terminate-Request has been acknowledged; if that is lost, it asks again or closes the session.
            self._leave_network(now)
            self._finish(failure, by_peer)
            return
        self._lcp.farewell = failure.slug
        self._lcp.close(now)

    def _finish(self, failure: Failure, by_peer: bool) -> None:
        if self._ended:
            return
        self._ending = (failure, by_peer)
        self.emit(LinkDown(failure, by_peer))
        self._ended = True
        self.phase = Phase.DEAD
        self._grant = None
