"""What every network-layer protocol of a link has in common, and what the user was granted."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Network
from typing import ClassVar

from headrace.errors import Slug
from headrace.model import Encryption, Failure
from headrace.ppp.auth import Keys
from headrace.ppp.automaton import TIMED, ControlProtocol, Notice, Port, State
from headrace.ppp.config import LinkConfig


def is_required(encryption: Encryption) -> bool:
    """Whether a policy forbids user data in clear."""
    return encryption in {Encryption.REQUIRED, Encryption.REQUIRED_128}


@dataclass(frozen=True, slots=True)
class Grant:
    """What authentication settled for the network phase, either role."""

    encryption: Encryption
    keys: Keys | None = field(default=None, repr=False)
    address: IPv4Address | None = None
    """Server: what the peer gets. Client: what we insist on; ``None`` takes what is given."""
    dns: tuple[IPv4Address, ...] = ()
    wins: tuple[IPv4Address, ...] = ()
    allow_any_address: bool = False
    prefix6: IPv6Network | None = None
    """Server: what the peer gets of IPv6; ``None``: no IPv6."""


class NetworkProtocol(ControlProtocol):
    """An NCP: the control protocol of one network layer. A new one is a file with such a class and a row in ``link.NCPS``."""

    data_protocols: ClassVar[frozenset[int]]
    """The PPP protocols that it opens."""
    slug: ClassVar[Slug]
    """Why a link that needs it fails when it does not come up."""
    essential: ClassVar[bool] = True
    """Whether a negotiation that does not settle ends the link; one that is merely refused leaves the others alone either way."""

    def __init__(self, port: Port, config: LinkConfig, grant: Grant) -> None:
        super().__init__(port, config)
        self.grant = grant
        self.refusal = ""
        """Why it is not there, once the peer has said so."""

    @property
    def alive(self) -> bool:
        """Whether it is up, or may still come up without the peer beginning."""
        return self.opened or self.state in TIMED or self.state in {State.INITIAL, State.STARTING}

    def refused(self, detail: str) -> None:
        """The peer does not have it. Whether the link can do without is the link's to say."""
        self.refusal = detail

    def diverged(self) -> Failure:
        """It does not settle."""
        return Failure(self.slug, f"no agreement on our {self.unanswered}")

    def give_up(self) -> None:
        """End the link, or this protocol alone."""
        if self.essential:
            super().give_up()
        else:
            self.refusal = self.diverged().detail
            self.port.notice(self, Notice.DIVERGED)

    @classmethod
    @abstractmethod
    def wanted(cls, config: LinkConfig, grant: Grant) -> bool:
        """Whether this link has it at all; otherwise the peer's attempts are answered with Protocol-Reject."""
