"""EAP on a PPP link (RFC 3748 section 3.1): identifiers, retransmission, Success and Failure, both roles.

The server asks for the identity, and then whoever judges users says who goes on: this side itself (``AuthOffer``: the methods of
``eap_methods``), or somebody behind it (``AuthContinue``: each response is passed on, and each answer is the next request, as
RFC 3579 has it). Only the authenticator repeats what is not answered; the peer answers a repeated request as it did before.
"""

from __future__ import annotations

from typing import Final

from headrace.errors import Slug
from headrace.model import Failure, Rand
from headrace.ppp.auth import AuthClient, AuthPort, AuthServer, Keys
from headrace.ppp.config import AuthAccept, AuthContinue, AuthMethod, AuthOffer, AuthReject, AuthResult, LinkConfig
from headrace.ppp.eap import (
    FAILURE,
    IDENTITY,
    IDENTITY_LIMIT,
    REQUEST,
    RESPONSE,
    ROUNDS,
    SUCCESS,
    EapPacket,
)
from headrace.ppp.eap_methods import PEERS, SERVERS, possible
from headrace.ppp.eap_peer import EapPeer
from headrace.ppp.eap_server import EapServer, ServerContext
from headrace.ppp.frame import Proto
from headrace.wire import Malformed

REASON_GRACE: Final = 1.0
"""Seconds that a client gives the server, after an EAP-Failure, to end the link with a number that says more."""


CHOICE_PATIENCE: Final = 90.0
"""Seconds that a client has for a method: its user may have to look at the server's certificate, or to choose one."""


class EapAuthServer(AuthServer):
    """Demands EAP, and carries whoever runs the method."""

    protocol = Proto.EAP
    method = AuthMethod.EAP

    def __init__(self, port: AuthPort, config: LinkConfig, rand: Rand) -> None:
        super().__init__(port, config, rand)
        self._now = 0.0
        self._request: EapPacket | None = None
        """The last request."""
        self._open = False
        """It is not answered yet."""
        self._response = b""
        self._identity = b""
        self._local: EapServer | None = None
        self._rounds = 0
        self._end: EapPacket | None = None

    def start(self, now: float) -> None:
        """Ask who it is."""
        self._now = now
        self.request(EapPacket(REQUEST, self.rand(1)[0], IDENTITY))

    def resend(self) -> None:
        """Send the request that is out once more."""
        if self._request is not None and self._open:
            self.port.send(self.protocol, self._request.emit())

    def receive(self, information: bytes, now: float) -> None:
        """Take a response; one to an older request is dropped, the one that ended it gets the same end again."""
        self._now = now
        packet = EapPacket.parse(information)
        if packet.code != RESPONSE:
            self.port.drop("eap_code")
        elif self._end is not None:
            if packet.emit() == self._response:
                self.port.send(self.protocol, self._end.emit())  # it was lost
            else:
                self.port.drop("eap_state")
        elif self._request is None or not self._open:
            self.port.drop("eap_pending")
        elif packet.identifier != self._request.identifier:
            self.port.drop("eap_identifier")
        else:
            self._answered(packet)

    def _answered(self, packet: EapPacket) -> None:
        self._response = packet.emit()
        if self._local is None:
            self._relay(packet)
            return
        try:
            self._local.receive(packet)
        except Malformed as error:
            self.reject(Failure(Slug.EAP_PROTOCOL, str(error)))

    def _relay(self, packet: EapPacket) -> None:
        """The identity, or a response that another server must see."""
        assert self._request is not None
        if self._request.type == IDENTITY:
            if packet.type != IDENTITY:
                self.port.drop("eap_type")
                return
            if len(packet.data) > IDENTITY_LIMIT:
                self.reject(Failure(Slug.AUTH_FAILED, f"an identity of {len(packet.data)} octets"))
                return
            self._identity = packet.data
        self._open = False
        self.answered()
        self.port.ask(AuthMethod.EAP, self._identity, packet.identifier, b"", self._response)

    def result(self, verdict: AuthResult, now: float) -> None:
        """Who goes on, the other server's next request, or the verdict on a proof."""
        self._now = now
        if self._end is not None:
            return
        if self._local is not None:
            if isinstance(verdict, AuthAccept | AuthReject):
                self._local.result(verdict)
        elif isinstance(verdict, AuthOffer):
            self._offer(verdict.methods)
        elif isinstance(verdict, AuthContinue):
            self._continue(verdict.packet)
        elif isinstance(verdict, AuthAccept):
            self.accept(verdict)
        else:
            self.reject(Failure(verdict.slug, verdict.detail))

    def _offer(self, methods: tuple[AuthMethod, ...]) -> None:
        self.patience = CHOICE_PATIENCE
        allowed = possible(self.config)
        if methods:
            allowed = tuple(method for method in methods if method in allowed)
        assert self._request is not None
        context = ServerContext(self.config, self.rand, self._identity)
        self._local = EapServer(self, context, allowed, SERVERS, self._request.identifier)
        self._local.start()

    def _continue(self, octets: bytes) -> None:
        self._rounds += 1
        try:
            packet = EapPacket.parse(octets)
        except Malformed as error:
            self.reject(Failure(Slug.EAP_PROTOCOL, f"from the other server: {error}"))
            return
        if packet.code != REQUEST:
            self.reject(Failure(Slug.EAP_PROTOCOL, f"the other server goes on with {packet}"))
        elif self._rounds > ROUNDS:
            self.reject(Failure(Slug.EAP_LIMIT, f"more than {ROUNDS} rounds with another server"))
        else:
            self.request(packet)

    # --- the port of the methods ------------------------------------------------------------------------------------------

    def room(self) -> int:
        """Octets of the largest EAP packet (``ServerPort``)."""
        return self.port.send_limit()

    def request(self, packet: EapPacket) -> None:
        """Send a request until it is answered (``ServerPort``)."""
        self._request, self._open = packet, True
        self.resend()
        self.await_answer(self._now)

    def ask(
        self, method: AuthMethod, username: bytes, identifier: int, challenge: bytes, response: bytes, change: bytes = b""
    ) -> None:
        """Have a proof checked (``ServerPort``)."""
        self._open = False
        self.answered()
        self.port.ask(method, username, identifier, challenge, response, change)

    def accept(self, grant: AuthAccept) -> None:
        """Success (``ServerPort``)."""
        self.doom = None
        self.method = (self._local.method if self._local is not None else None) or AuthMethod.EAP
        self._finish(SUCCESS)
        self.port.admitted(grant)

    def reject(self, failure: Failure) -> None:
        """Failure (``ServerPort``)."""
        self._finish(FAILURE)
        self.port.fail(failure)

    def _finish(self, code: int) -> None:
        assert self._request is not None
        self._open = False
        self.answered()
        self._local = None  # with all that TLS keeps
        self._end = EapPacket(code, self._request.identifier)
        self.port.send(self.protocol, self._end.emit())

    def drop(self, reason: str) -> None:
        """Count an input that was ignored (``ServerPort``)."""
        self.port.drop(reason)

    def wait(self, doom: Failure, patience: float) -> None:
        """Remember why this fails if it gets no further (``ServerPort``)."""
        self.doom, self.patience = doom, max(self.patience, patience)


class EapAuthClient(AuthClient):
    """Answers EAP."""

    protocol = Proto.EAP
    method = AuthMethod.EAP

    def __init__(self, port: AuthPort, config: LinkConfig, rand: Rand) -> None:
        super().__init__(port, config, rand)
        identity = config.eap.identity or self.credentials.username
        self._peer = EapPeer(self, config, self.credentials, rand, possible(config), PEERS, identity)
        self._fail_at: float | None = None
        self._now = 0.0

    def start(self, now: float) -> None:
        """Nothing: the server begins."""

    def resend(self) -> None:
        """Nothing: the server repeats itself."""

    def receive(self, information: bytes, now: float) -> None:
        """Take a packet. Raises ``Malformed``."""
        self._now = now
        self._peer.receive(EapPacket.parse(information))

    def implied(self) -> bool:
        """The server begins with the network phase: its Success was lost, if everything else is proved."""
        if not self._peer.complete:
            return False
        self._peer.finish()
        return True

    def deadline(self) -> float | None:
        """When the server has had time to say why it refuses."""
        return self._fail_at

    def tick(self, now: float) -> None:
        """It has not."""
        if self._fail_at is not None and now >= self._fail_at and self.doom is not None:
            self._fail_at = None
            self.port.fail(self.doom)

    # --- the port of the conversation -------------------------------------------------------------------------------------

    def room(self) -> int:
        """Octets of the largest EAP packet (``PeerPort``)."""
        return self.port.send_limit()

    def respond(self, packet: EapPacket) -> None:
        """Send a response (``PeerPort``)."""
        self.port.send(self.protocol, packet.emit())

    def succeeded(self, keys: Keys | None) -> None:
        """We are in (``PeerPort``)."""
        self.doom = None
        self.method = self._peer.method or AuthMethod.EAP
        self.port.recognised(b"", keys)

    def failed(self, failure: Failure) -> None:
        """We are not (``PeerPort``). A plain refusal waits a moment for the number in the server's Terminate-Request."""
        if failure.slug is Slug.AUTH_FAILED:
            self.doom = failure
            self._fail_at = self._now + REASON_GRACE
        else:
            self.port.fail(failure)

    def drop(self, reason: str) -> None:
        """Count an input that was ignored (``PeerPort``)."""
        self.port.drop(reason)

    def doomed(self, failure: Failure, patience: float) -> None:
        """Remember why this fails if it gets no further (``PeerPort``)."""
        self.doom, self.patience = failure, max(self.patience, patience)
