"""EAP-TLS (RFC 5216 with TLS 1.2, RFC 9190 with TLS 1.3), and how PEAP, too, carries TLS: both roles.

The server's way::

    start -> handshake, flight by flight -> the user's certificate is asked about -> last flight -> its acknowledgement -> Success

With TLS 1.3 the last flight has one octet of data, 0, which says that nothing of the handshake follows and that the user is in; a
peer takes no Success without it. Sessions are not resumed: each conversation proves everything anew.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar, Final

from headrace.errors import Slug
from headrace.model import Failure
from headrace.ppp.auth import Keys
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject
from headrace.ppp.eap import HEADER, TLS
from headrace.ppp.eap_fragment import START, VERSION, Fragments, TooMuch
from headrace.ppp.eap_peer import EapPeer, PeerMethod
from headrace.ppp.eap_server import EapServer, ServerContext, ServerMethod
from headrace.ppp.tls import TLS13, TlsEngine
from headrace.wire import Malformed, Reader

_NOTHING: Final = b"\0"
"""Type-data that acknowledges: no flags, no data."""

_COMMITMENT: Final = b"\0"
"""What the server says through TLS 1.3 when all is well (RFC 9190 section 2.5)."""

KEY_SIZE: Final = 16
"""Octets of a direction's start key (RFC 3079 section 4): the beginning of its half of the MSK."""


def key_material(engine: TlsEngine, eap_type: int) -> bytes:
    """128 octets: MSK and EMSK (RFC 5216 section 2.3, RFC 9190 section 2.3)."""
    if engine.version == TLS13:
        return engine.export(b"EXPORTER_EAP_TLS_Key_Material", bytes((eap_type,)), 128)
    return engine.export(b"client EAP encryption", None, 128)


def start_keys(msk: bytes, *, server: bool) -> tuple[bytes, bytes]:
    """Send and receive start keys of one side from the 64 octets of the MSK: first what the peer sends with, then the server."""
    peer, host = msk[:KEY_SIZE], msk[32 : 32 + KEY_SIZE]
    return (host, peer) if server else (peer, host)


def with_keys(grant: AuthAccept, msk: bytes) -> AuthAccept:
    """A grant with the keys of the MSK."""
    send, receive = start_keys(msk, server=True)
    return replace(grant, mppe_send_key=send, mppe_recv_key=receive, mschap_success=None)


class TlsServerMethod(ServerMethod):
    """The authenticator's half of what carries TLS."""

    demands_certificate: ClassVar[bool]

    def __init__(self, server: EapServer, context: ServerContext) -> None:
        super().__init__(server, context)
        assert self.config.eap.tls is not None
        self.engine = self.config.eap.tls.open(client_certificate=self.demands_certificate)
        self._fragments = Fragments()
        self._refusal: Failure | None = None

    def start(self) -> None:
        """Ask the peer to begin."""
        self.server.say(bytes((START,)))

    def receive(self, data: bytes) -> None:
        """Acknowledge a fragment, send the next of ours, or go on with a whole message."""
        reader = Reader(data, "eap", HEADER)
        flags = reader.u8("fragment")
        if flags & START:
            raise reader.fail("fragment", "the peer starts, which is the server's part")
        if flags & VERSION:
            raise reader.fail("fragment", f"version {flags & VERSION} of the method, 0 is spoken here")
        if self._fragments.sending:
            if len(reader):
                raise reader.fail("fragment", "data in place of an acknowledgement")
            self.server.say(self._fragments.next(self.server.port.room()))
            return
        try:
            message = self._fragments.take(flags, reader)
        except TooMuch as error:
            self.server.reject(Failure(Slug.EAP_LIMIT, str(error)))
            return
        if message is None:
            self.server.say(_NOTHING)
        elif self._refusal is not None:
            self.server.reject(self._refusal)  # the peer has heard our alert
        else:
            self.engine.feed(message)
            if self.engine.failure is not None:
                self._refuse(self.engine.failure)
            else:
                self.advance(message)

    def _refuse(self, failure: Failure) -> None:
        """Let the peer hear our alert first, if there is one (RFC 5216 section 2.1.3)."""
        self._refusal = failure
        self.server.port.wait(failure, 0.0)
        if not self.flight():
            self.server.reject(failure)

    @abstractmethod
    def advance(self, message: bytes) -> None:
        """TLS has taken a message (possibly an empty one) without complaint."""

    def flight(self) -> bool:
        """Send what TLS has for the peer; ``False`` if that is nothing."""
        data = self.engine.drain()
        if not data:
            return False
        self._fragments.load(data)
        self.server.say(self._fragments.next(self.server.port.room()))
        return True

    def stuck(self) -> None:
        """TLS has nothing to say, and waits."""
        self.server.reject(Failure(Slug.EAP_PROTOCOL, "the peer says nothing, and the TLS handshake is not over"))


class TlsServer(TlsServerMethod):
    """EAP-TLS: the user proves himself with a certificate."""

    method = AuthMethod.EAP_TLS
    demands_certificate = True

    _grant: AuthAccept | None = None

    def advance(self, message: bytes) -> None:
        """Go on with the handshake; when it is over, ask whose the certificate is, and whether they may come in."""
        if self._grant is not None:
            if message:
                raise Malformed("eap", "tls", HEADER, "data behind the end of the handshake")
            self.server.accept(self._grant)
        elif self.engine.complete:
            self.server.ask(self.identity, b"", self.engine.peer_certificate)
        elif not self.flight():
            self.stuck()

    def result(self, verdict: AuthAccept | AuthReject) -> None:
        """The last flight goes out only now: it is the server's word that the user is in."""
        if isinstance(verdict, AuthReject):
            self.server.reject(Failure(verdict.slug, verdict.detail))
            return
        self._grant = with_keys(verdict, key_material(self.engine, TLS)[:64])
        if self.engine.version == TLS13:
            self.engine.write(_COMMITMENT)
        if not self.flight():
            self.server.accept(self._grant)


class TlsPeerMethod(PeerMethod):
    """The peer's half of what carries TLS."""

    shows_certificate: ClassVar[bool]

    def __init__(self, peer: EapPeer) -> None:
        super().__init__(peer)
        assert self.config.eap.tls is not None
        self.engine = self.config.eap.tls.open(client_certificate=self.shows_certificate)
        self._fragments = Fragments()
        self._started = False

    def receive(self, data: bytes, identifier: int) -> bytes | None:
        """Begin, acknowledge a fragment, send the next of ours, or go on with a whole message."""
        reader = Reader(data, "eap", HEADER)
        flags = reader.u8("fragment")
        if bool(flags & START) is self._started:
            raise reader.fail("fragment", "a second start" if self._started else "no start")
        if flags & START:
            self._started = True
            self.engine.feed(b"")
            return self.flight()
        if self._fragments.sending:
            if len(reader):
                raise reader.fail("fragment", "data in place of an acknowledgement")
            return self._fragments.next(self.peer.port.room())
        try:
            message = self._fragments.take(flags, reader)
        except TooMuch as error:
            self.peer.fail(Failure(Slug.EAP_LIMIT, str(error)))
            return None
        if message is None:
            return _NOTHING
        self.engine.feed(message)
        if self.engine.failure is not None:
            self.complete = False
            self.peer.doom(self.engine.failure)
            return self.flight()
        return self.advance(identifier)

    @abstractmethod
    def advance(self, identifier: int) -> bytes:
        """TLS has taken a message without complaint: the type-data to answer with."""

    def flight(self) -> bytes:
        """What TLS has for the server, as type-data; an acknowledgement if that is nothing."""
        data = self.engine.drain()
        if not data:
            return _NOTHING
        self._fragments.load(data)
        return self._fragments.next(self.peer.port.room())


class TlsPeer(TlsPeerMethod):
    """EAP-TLS: we prove ourselves with a certificate, and so does the server."""

    method = AuthMethod.EAP_TLS
    shows_certificate = True

    def advance(self, identifier: int) -> bytes:
        """Go on with the handshake; when the server has said its last word, a Success may come."""
        word = self.engine.read()
        if self.engine.complete and not self.complete:
            self.complete = word == _COMMITMENT if self.engine.version == TLS13 else True
            if self.complete:
                self.keys = Keys(*start_keys(key_material(self.engine, TLS)[:64], server=False))
        return self.flight()
