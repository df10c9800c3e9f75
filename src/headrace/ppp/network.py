"""What every network-layer protocol of a link has in common, and what the user was granted."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import ClassVar

from headrace.errors import Slug
from headrace.model import Encryption
from headrace.ppp.auth import Keys
from headrace.ppp.automaton import ControlProtocol, Port
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


class NetworkProtocol(ControlProtocol):
    """An NCP: the control protocol of one network layer. A new one is a file with such a class and a row in ``link.NCPS``."""

    data_protocols: ClassVar[frozenset[int]]
    """The PPP protocols that it opens."""
    slug: ClassVar[Slug]
    """Why a link that needs it fails when it does not come up."""

    def __init__(self, port: Port, config: LinkConfig, grant: Grant) -> None:
        super().__init__(port, config)
        self.grant = grant

    @classmethod
    @abstractmethod
    def wanted(cls, config: LinkConfig, grant: Grant) -> bool:
        """Whether this link has it at all; otherwise the peer's attempts are answered with Protocol-Reject."""
