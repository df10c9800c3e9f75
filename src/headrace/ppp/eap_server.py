"""The authenticator's side of EAP: which method is proposed, what a Nak changes, and what a method needs.

An ``EapServer`` runs the methods itself. It knows nothing of PPP: the same class speaks on a link (``eap_link``) and inside of
PEAP's tunnel. Conversations that another server runs pass by it altogether.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from headrace.errors import Slug
from headrace.model import Failure, Rand
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject, LinkConfig
from headrace.ppp.eap import REQUEST, ROUNDS, TYPE_OF, EapPacket, parse_nak, type_name


class ServerPort(Protocol):
    """What carries the conversation. One request is out at a time; the carrier repeats it until it is answered."""

    def room(self) -> int:
        """Octets of the largest EAP packet that may be sent."""

    def request(self, packet: EapPacket) -> None:
        """Send a request."""

    def ask(
        self, method: AuthMethod, username: bytes, identifier: int, challenge: bytes, response: bytes, change: bytes = b""
    ) -> None:
        """Have a proof checked; the answer comes to ``result``."""

    def accept(self, grant: AuthAccept) -> None:
        """The user is in."""

    def reject(self, failure: Failure) -> None:
        """The user is not."""

    def drop(self, reason: str) -> None:
        """Count an input that was ignored."""

    def wait(self, doom: Failure, patience: float) -> None:
        """If the conversation gets no further, this is why; a user may need so many seconds now."""


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What every method is given."""

    config: LinkConfig
    rand: Rand
    identity: bytes
    """As told in the Identity Response."""


class ServerMethod(ABC):
    """One method in progress. It says each request through ``EapServer.say``."""

    method: ClassVar[AuthMethod]

    def __init__(self, server: EapServer, context: ServerContext) -> None:
        self.server = server
        self.config = context.config
        self.rand = context.rand
        self.identity = context.identity

    @abstractmethod
    def start(self) -> None:
        """Send the first request."""

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Take the type-data of the response to the last request. Raises ``Malformed``, which ends the conversation."""

    def result(self, verdict: AuthAccept | AuthReject) -> None:
        """The verdict on the proof that was asked about last."""


class EapServer:
    """One conversation with methods of our own, from the identity on."""

    def __init__(
        self,
        port: ServerPort,
        context: ServerContext,
        methods: tuple[AuthMethod, ...],
        kinds: Mapping[AuthMethod, Callable[[EapServer, ServerContext], ServerMethod]],
        identifier: int,
    ) -> None:
        self.port = port
        self._context = context
        self._allowed = methods
        self._untried = list(methods)
        self._kinds = kinds
        self._current: ServerMethod | None = None
        self._begun = False
        self._identifier = identifier
        self._outstanding: EapPacket | None = None
        self._asked = False
        self._rounds = 0
        self._over = False

    @property
    def method(self) -> AuthMethod | None:
        """The method in progress."""
        return self._current.method if self._current is not None else None

    @property
    def identifier(self) -> int:
        """Of the last request."""
        return self._identifier

    @property
    def waiting(self) -> bool:
        """Whether a proof is being checked."""
        return self._asked

    def start(self) -> None:
        """Propose the first method."""
        if not self._untried:
            self.reject(Failure(Slug.EAP_NO_METHOD, "no EAP method is allowed to this user"))
            return
        self._begin(self._untried.pop(0))

    def _begin(self, method: AuthMethod) -> None:
        self._begun = False
        self._current = self._kinds[method](self, self._context)
        self._current.start()

    def receive(self, packet: EapPacket) -> None:
        """Take a response. Raises ``Malformed`` for a Nak that cannot be read."""
        out = self._outstanding
        if self._over or self._current is None or out is None:
            self.port.drop("eap_pending" if self._asked else "eap_state")
        elif packet.identifier != out.identifier:
            self.port.drop("eap_identifier")
        elif (wanted := parse_nak(packet)) is not None:
            self._receive_nak(wanted)
        elif packet.type != out.type:
            self.port.drop("eap_type")
        else:
            self._begun = True
            self._outstanding = None
            self._current.receive(packet.data)

    def _receive_nak(self, wanted: tuple[int, ...]) -> None:
        """Section 5.3.1: the peer names what it would rather have; ours that it names come next, in our order."""
        if self._begun:
            self.port.drop("eap_nak")  # it has agreed to the method before
            return
        self._outstanding = None
        method = next((method for method in self._untried if TYPE_OF[method] in wanted), None)
        if method is None:
            theirs = ", ".join(map(type_name, wanted[:16])) or "nothing at all"
            ours = ", ".join(self._allowed)
            self.reject(Failure(Slug.EAP_NO_METHOD, f"the peer's Nak asks for {theirs}, offered here: {ours}"))
            return
        self._untried.remove(method)
        self._begin(method)

    def result(self, verdict: AuthAccept | AuthReject) -> None:
        """The verdict on the proof that was asked about last."""
        if self._asked and not self._over and self._current is not None:
            self._asked = False
            self._current.result(verdict)

    # --- what a method says -----------------------------------------------------------------------------------------------

    def say(self, data: bytes) -> None:
        """Send the method's next request."""
        assert self._current is not None
        self._rounds += 1
        if self._rounds > ROUNDS:
            self.reject(Failure(Slug.EAP_LIMIT, f"more than {ROUNDS} rounds of {self._current.method}"))
            return
        self._identifier = (self._identifier + 1) & 0xFF
        self._outstanding = EapPacket(REQUEST, self._identifier, TYPE_OF[self._current.method], data)
        self.port.request(self._outstanding)

    def ask(self, username: bytes, challenge: bytes, response: bytes, change: bytes = b"") -> None:
        """Have a proof of the method in progress checked."""
        assert self._current is not None
        self._asked = True
        self.port.ask(self._current.method, username, self._identifier, challenge, response, change)

    def accept(self, grant: AuthAccept) -> None:
        """The method has ended well."""
        self._over = True
        self.port.accept(grant)

    def reject(self, failure: Failure) -> None:
        """The method has ended badly."""
        self._over = True
        self.port.reject(failure)
