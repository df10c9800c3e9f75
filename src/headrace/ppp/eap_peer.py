"""The peer's side of EAP: answers identity and notifications, agrees to a method or says which it would rather have.

It knows nothing of PPP: the same class answers on a link (``eap_link``) and inside of PEAP's tunnel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Final, Protocol

from headrace.errors import Slug
from headrace.model import Failure, Rand, printable
from headrace.ppp.auth import Keys
from headrace.ppp.config import AuthMethod, ClientCredentials, LinkConfig
from headrace.ppp.eap import (
    EXPANDED,
    IDENTITY,
    METHOD_OF,
    NAK,
    NOTIFICATION,
    REQUEST,
    RESPONSE,
    ROUNDS,
    SUCCESS,
    TYPE_OF,
    EapPacket,
    emit_nak,
    type_name,
)
from headrace.wire import Malformed

NAKS: Final = 8
"""Types that are refused before it is plain that the server has nothing for us."""


class PeerPort(Protocol):
    """What carries the conversation."""

    def room(self) -> int:
        """Octets of the largest EAP packet that may be sent."""

    def respond(self, packet: EapPacket) -> None:
        """Send a response."""

    def succeeded(self, keys: Keys | None) -> None:
        """The server has accepted us, and proved itself where the method can."""

    def failed(self, failure: Failure) -> None:
        """The conversation is over."""

    def drop(self, reason: str) -> None:
        """Count an input that was ignored."""

    def doomed(self, failure: Failure, patience: float) -> None:
        """If the conversation gets no further, this is why."""


class PeerMethod(ABC):
    """One method in progress."""

    method: ClassVar[AuthMethod]
    complete = False
    """Whether a Success may come now: the server has proved all that the method has it prove."""
    keys: Keys | None = None
    """Start keys for MPPE, once ``complete``."""
    exported = b""
    """Keys for a method around this one: ours to send 16, to receive 16; empty without keys."""

    def __init__(self, peer: EapPeer) -> None:
        self.peer = peer
        self.config = peer.config
        self.credentials = peer.credentials
        self.rand = peer.rand

    @abstractmethod
    def receive(self, data: bytes, identifier: int) -> bytes | None:
        """Answer the type-data of a request; ``None`` to say nothing. Raises ``Malformed`` for one that cannot be read."""


class EapPeer:
    """One conversation, from the identity on."""

    def __init__(
        self,
        port: PeerPort,
        config: LinkConfig,
        credentials: ClientCredentials,
        rand: Rand,
        methods: tuple[AuthMethod, ...],
        kinds: Mapping[AuthMethod, Callable[[EapPeer], PeerMethod]],
        identity: str,
    ) -> None:
        self.port = port
        self.config = config
        self.credentials = credentials
        self.rand = rand
        self._methods = methods
        self._kinds = kinds
        self._identity = identity
        self._current: PeerMethod | None = None
        self._request: EapPacket | None = None
        self._response: EapPacket | None = None
        self._naks: list[int] = []
        self._rounds = 0
        self._doom: Failure | None = None
        self.over = False

    @property
    def method(self) -> AuthMethod | None:
        """The method in progress."""
        return self._current.method if self._current is not None else None

    @property
    def complete(self) -> bool:
        """Whether all that is missing is the Success."""
        return not self.over and self._current is not None and self._current.complete

    @property
    def exported(self) -> bytes:
        """Keys of the method that has ended, for a method around this conversation."""
        return self._current.exported if self._current is not None else b""

    def receive(self, packet: EapPacket) -> None:
        """Take a request, a Success or a Failure. Raises ``Malformed`` for a request that cannot be read."""
        if self.over or packet.code == RESPONSE:
            self.port.drop("eap_state" if self.over else "eap_code")
        elif packet.code == REQUEST:
            if packet == self._request:
                if self._response is not None:
                    self.port.respond(self._response)  # a retransmission
            else:
                self._receive_request(packet)
        elif not self._fits(packet.identifier):
            self.port.drop("eap_identifier")
        elif packet.code == SUCCESS:
            if self.complete:
                self.finish()
            else:
                self.port.drop("eap_success")  # section 4.2: nobody has proved anything yet
        else:
            self.fail(self._doom or Failure(Slug.AUTH_FAILED, "the server refuses with EAP-Failure"))

    def _fits(self, identifier: int) -> bool:
        """Success and Failure bear the last identifier (section 4.2), or from old Microsoft servers the one after it."""
        return self._request is not None and (identifier - self._request.identifier) & 0xFF in {0, 1}

    def _receive_request(self, packet: EapPacket) -> None:
        self._rounds += 1
        if self._rounds > 2 * ROUNDS:
            self.fail(Failure(Slug.EAP_LIMIT, f"more than {2 * ROUNDS} requests"))
            return
        answer: EapPacket | None
        if packet.type == IDENTITY:
            answer = EapPacket(RESPONSE, packet.identifier, IDENTITY, self._identity.encode())
        elif packet.type == NOTIFICATION:
            self.doom(Failure(Slug.AUTH_FAILED, f'the server notifies "{printable(packet.data, 150)}"'))
            answer = EapPacket(RESPONSE, packet.identifier, NOTIFICATION)
        elif packet.type == NAK:
            raise Malformed("eap", "type", 4, "a request of type Nak")
        else:
            answer = self._receive_method(packet)
        self._request, self._response = packet, answer
        if answer is not None and not self.over:
            self.port.respond(answer)

    def _receive_method(self, packet: EapPacket) -> EapPacket | None:
        method = METHOD_OF.get(packet.type)
        if self._current is not None and method is not self._current.method:
            self.port.drop("eap_type")  # section 2.1: one method a conversation
            return None
        if method is None or method not in self._methods:
            return self._nak(packet)
        if self._current is None:
            self._current = self._kinds[method](self)
        data = self._current.receive(packet.data, packet.identifier)
        return EapPacket(RESPONSE, packet.identifier, packet.type, data) if data is not None else None

    def _nak(self, packet: EapPacket) -> EapPacket | None:
        self._naks.append(packet.type)
        wanted = tuple(TYPE_OF[method] for method in self._methods)
        theirs = ", ".join(map(type_name, dict.fromkeys(self._naks)))
        failure = Failure(Slug.EAP_NO_METHOD, f"the server offers {theirs}, accepted here: {', '.join(self._methods)}")
        if len(self._naks) > NAKS:
            self.fail(failure)
            return None
        self.doom(failure)
        return emit_nak(packet.identifier, EXPANDED if packet.type == EXPANDED else packet.type, wanted)

    def doom(self, failure: Failure, patience: float = 0.0) -> None:
        """If the conversation gets no further, this is why."""
        self._doom = failure
        self.port.doomed(failure, patience)

    def finish(self) -> None:
        """The server has said Success, or shown that it did."""
        assert self._current is not None
        self.over = True
        self.port.succeeded(self._current.keys)

    def fail(self, failure: Failure) -> None:
        """The conversation cannot go on."""
        self.over = True
        self.port.failed(failure)
