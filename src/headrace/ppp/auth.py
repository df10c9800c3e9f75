"""What every authentication protocol of a link has in common: its two roles, the port to the link, the verdicts.

One object is one authentication in progress. The server's side asks through ``AuthPort.ask`` and is told ``result`` later; a RADIUS
server may take its time, and nothing waits for it but a timer of the link.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol

from headrace.errors import Slug
from headrace.model import Failure, Rand
from headrace.ppp.config import AuthAccept, AuthMethod, AuthResult, ClientCredentials, LinkConfig

ATTEMPTS: Final = 3
"""Proofs that a peer may offer on one link, the first one included (Windows asks its user twice more)."""

# RFC 2759 section 6: these and no others are shown as sent. What is not a fact about the account is always 691.
_CODES: Final = {
    Slug.HOURS: 646,
    Slug.ACCOUNT_DISABLED: 647,
    Slug.PASSWORD_EXPIRED: 648,
    Slug.DIALIN_DENIED: 649,
    Slug.USER_LIMIT: 649,
    Slug.PASSWORD_CHANGE: 709,
    Slug.QUOTA: 649,
}
_SHARED: Final = frozenset({Slug.USER_LIMIT, Slug.QUOTA})
"""Reasons with a number that another one means first."""

VERDICTS: Final = (frozenset(_CODES) - {Slug.QUOTA}) | {
    Slug.AUTH_FAILED,
    Slug.USER_UNKNOWN,
    Slug.NO_NT_HASH,
    Slug.ACCOUNT_EXPIRED,
    Slug.AUTH_LOCKED,
    Slug.SERVER_PROOF_MISSING,
    Slug.RADIUS_TIMEOUT,
    Slug.RADIUS_BAD,
    Slug.RADIUS_POLICY,
    Slug.RADIUS_SERVICE,
    Slug.RADIUS_FRAMING,
    Slug.RADIUS_TUNNEL,
}
"""Reasons for which a user is turned away. What the peer is told of them is ``error_code``; the log has the slug."""


def error_code(slug: Slug) -> int:
    """The number a refused user is shown: 646 to 649 and 709 for facts about the account, 691 for everything else."""
    return _CODES.get(slug, 691)


def slug_of_code(code: int) -> Slug:
    """What a server means by the number in its refusal."""
    return {number: slug for slug, number in _CODES.items() if slug not in _SHARED}.get(code, Slug.AUTH_FAILED)


@dataclass(frozen=True, slots=True)
class Keys:
    """RFC 3079 start keys of this side, 16 octets each, if the method gives any."""

    send: bytes = field(repr=False)
    receive: bytes = field(repr=False)
    bits: tuple[int, ...] = (128, 56, 40)
    """Strengths of MPPE that they serve."""


class AuthPort(Protocol):
    """What an authentication needs of the link that carries it."""

    def send(self, protocol: int, information: bytes) -> None:
        """Queue one frame."""

    def drop(self, reason: str) -> None:
        """Count an input that was ignored."""

    def fail(self, failure: Failure, by_peer: bool = False) -> None:
        """The link cannot go on."""

    def send_limit(self) -> int:
        """Octets of the largest packet that may be sent."""

    def ask(
        self, method: AuthMethod, username: bytes, identifier: int, challenge: bytes, response: bytes, change: bytes = b""
    ) -> None:
        """Have a proof checked. ``AuthServer.result`` is called with the verdict, unless the link starts anew before."""

    def admitted(self, grant: AuthAccept) -> None:
        """Server: the user is in, and has been told so."""

    def recognised(self, server_name: bytes, keys: Keys | None) -> None:
        """Client: the server has accepted us and, where the method can, proved itself."""


class Authentication(ABC):
    """One authentication, either role."""

    protocol: ClassVar[int]
    """PPP protocol number."""
    method: AuthMethod
    patience: float = 0.0
    """Seconds that this may take if that is more than the link would wait: a user may be choosing a new password."""
    doom: Failure | None = None
    """Why this will have failed if it gets no further: the truth when the peer hangs up or falls silent."""

    def __init__(self, port: AuthPort, config: LinkConfig, rand: Rand) -> None:
        self.port = port
        self.config = config
        self.rand = rand
        self._resend_at: float | None = None
        self._resends = 0

    @abstractmethod
    def start(self, now: float) -> None:
        """LCP is up: begin."""

    @abstractmethod
    def receive(self, information: bytes, now: float) -> None:
        """Take one packet. Raises ``Malformed`` for one that cannot be read."""

    @abstractmethod
    def resend(self) -> None:
        """Send again what is out and unanswered."""

    def deadline(self) -> float | None:
        """When ``tick`` wants to be called."""
        return self._resend_at

    def tick(self, now: float) -> None:
        """Send again if the answer is overdue, Max-Configure times at most."""
        if self._resend_at is not None and now >= self._resend_at:
            self._resends += 1
            self._resend_at = now + self.config.restart_timer if self._resends < self.config.max_configure else None
            self.resend()

    def implied(self) -> bool:
        """The peer begins with the network phase: take it as its acceptance if nothing else is missing (RFC 3748 section 4.2).

        ``True`` if it was, and the port was told.
        """
        return False

    def await_answer(self, now: float) -> None:
        """Something was sent that must be answered."""
        self._resends = 0
        self._resend_at = now + self.config.restart_timer

    def answered(self) -> None:
        """Nothing is out any more."""
        self._resend_at = None


class AuthServer(Authentication):
    """The side that demands a proof."""

    @abstractmethod
    def result(self, verdict: AuthResult, now: float) -> None:
        """The verdict on the proof that was asked about last."""


class AuthClient(Authentication):
    """The side that proves itself. Needs ``config.credentials``."""

    @property
    def credentials(self) -> ClientCredentials:
        """Who we are. A client without credentials never agrees to a method, so there are some."""
        assert self.config.credentials is not None
        return self.config.credentials
