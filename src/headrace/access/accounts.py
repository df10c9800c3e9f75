"""Accounts and groups as values, and how a user's settings come together: gateway, then group, then the user's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from ipaddress import AddressValueError, IPv4Address, IPv6Network
from typing import Any, Final

from headrace.access.filters import FilterError, parse_filters
from headrace.access.hours import Hours, HoursError
from headrace.access.quota import PERIODS
from headrace.access.seal import StoreError
from headrace.model import Encryption, FilterRule
from headrace.ppp.config import AuthMethod

NAME_MAX: Final = 64
CERTIFICATE_NAME_MAX: Final = 255
PASSWORD_MAX: Final = 256
"""Characters; MS-CHAP knows no more."""
_GROUP_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_POOL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Grants:
    """What may be said of a user or of a group; ``None`` says nothing."""

    dialin: bool | None = None
    """May use the gateway."""
    encryption: Encryption | None = None
    pool: str | None = None
    sessions: int | None = None
    """At once; 0 is no limit."""
    hours: str | None = None
    """See ``hours``."""
    auth: tuple[str, ...] | None = None
    """Authentication methods that are allowed, most wanted first; empty is what the gateway allows."""
    replace: bool | None = None
    """At the limit of sessions: end the oldest for the new one, rather than refuse it."""
    gateways: str | None = None
    """Patterns of the names of gateways, with blanks between: ``vpn-eu-*``; ``any``."""
    session_time: int | None = None
    """Seconds that a session may last; 0 is no limit."""
    idle_time: int | None = None
    """Seconds without a packet after which it ends; 0 is no limit."""
    quota_octets: int | None = None
    """Octets that may cross, both ways together, in a period; 0 is no limit."""
    quota_time: int | None = None
    """Seconds that sessions may last together in a period; 0 is no limit."""
    quota_period: str | None = None
    """See ``quota``."""
    rate_up: int | None = None
    """Bits a second from the client; 0 is no limit."""
    rate_down: int | None = None
    """Bits a second to the client."""
    filters: str | None = None
    """See ``filters``; ``none``."""


@dataclass(frozen=True, slots=True)
class Group:
    """Users that share settings."""

    name: str
    comment: str = ""
    disabled: bool = False
    grants: Grants = field(default_factory=Grants)


@dataclass(frozen=True, slots=True)
class User:
    """One account, without its secrets."""

    name: str
    group: Group | None = None
    comment: str = ""
    disabled: bool = False
    expires: float | None = None
    """Seconds since 1970; ``None`` is never."""
    password_expires: float | None = None
    address: IPv4Address | None = None
    """Static inner address."""
    any_address: bool = False
    """May choose its inner address."""
    prefix6: IPv6Network | None = None
    """Static IPv6 prefix: one block of ``network.ipv6_prefixes``."""
    grants: Grants = field(default_factory=Grants)
    certificate_names: tuple[str, ...] = ()
    """Names in certificates that are this account's, beside its own name."""
    methods: tuple[str, ...] = ()
    """Authentication that the stored secrets serve: ``mschap-v2``, ``pap``, ``chap-md5``."""
    created: float = 0.0
    changed: float = 0.0

    @property
    def key(self) -> str:
        """The name as it is compared."""
        return name_key(self.name)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is kept of a password."""

    nt_hash: bytes | None = field(default=None, repr=False)
    password_hash: str | None = field(default=None, repr=False)
    recoverable: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Effective:
    """What counts for a user in the end, and who says so."""

    dialin: bool
    encryption: Encryption
    pool: str
    """Empty: the gateway's first."""
    sessions: int
    replace: bool
    auth: tuple[AuthMethod, ...]
    """Most wanted first; empty: what the gateway allows."""
    gateways: tuple[str, ...]
    """Empty: all."""
    hours: Hours
    session_time: int | None
    """``None``: the gateway's own."""
    idle_time: int | None
    quota_octets: int
    quota_time: int
    quota_period: str
    rate_up: int
    rate_down: int
    filters: tuple[FilterRule, ...]
    by: dict[str, str]
    """Who said it, by setting: ``group staff``."""

    def on_gateway(self, name: str) -> bool:
        """Whether the account may use the gateway of this name."""
        return not self.gateways or any(fnmatchcase(name.lower(), pattern.lower()) for pattern in self.gateways)


_OWN: Final = Grants(
    dialin=True,
    encryption=Encryption.OPTIONAL,
    pool="",
    sessions=0,
    hours="always",
    replace=False,
    auth=(),
    gateways="any",
    quota_octets=0,
    quota_time=0,
    quota_period="month",
    rate_up=0,
    rate_down=0,
    filters="none",
)
"""A gateway's: everybody may dial in, at all hours, without limit, out of the first pool."""


def effective(user: User, *, gateway: str = "headrace", encryption: Encryption = Encryption.OPTIONAL) -> Effective:
    """Lay the user's settings over the group's, and these over the gateway's.

    Raises ``ValueError`` for settings that cannot have been made here.
    """
    layers = [(f"account {user.name}", user.grants)]
    if user.group is not None:
        layers.append((f"group {user.group.name}", user.group.grants))
    layers.append((f"gateway {gateway}", _OWN))
    said = {
        f.name: next(((value, by) for by, grants in layers if (value := getattr(grants, f.name)) is not None), (None, ""))
        for f in fields(Grants)
    }
    total: dict[str, Any] = {name: value for name, (value, _) in said.items()}
    if said["encryption"][1].startswith("gateway"):
        total["encryption"] = encryption
    total["auth"] = tuple(AuthMethod(name) for name in total["auth"])
    total["gateways"] = () if total["gateways"] == "any" else tuple(total["gateways"].split())
    total["hours"] = Hours.parse(total["hours"])
    total["filters"] = parse_filters(total["filters"])
    return Effective(**total, by={name: by for name, (_, by) in said.items()})


def name_key(name: str) -> str:
    """The form in which names are compared: capitals do not count, as on Windows."""
    return name.casefold()


def check_name(name: str) -> None:
    """Refuse what cannot be the name of an account. Raises ``StoreError``."""
    if not name or len(name) > NAME_MAX or not name.isprintable() or name != name.strip() or len(name_key(name)) > NAME_MAX:
        raise StoreError(
            f"{name!r} cannot be the name of an account", f"use 1 to {NAME_MAX} printable characters, no blank at the ends"
        )


def check_group_name(name: str) -> None:
    """Refuse what cannot be the name of a group. Raises ``StoreError``."""
    if not _GROUP_NAME.fullmatch(name):
        raise StoreError(f"{name!r} cannot be the name of a group", "use letters, digits, '.', '-' and '_', at most 64")


def check_password(password: str) -> None:
    """Refuse a password that no client could give, or that is empty. Raises ``StoreError``."""
    if not password:
        raise StoreError("the password is empty", "give one")
    if len(password) > PASSWORD_MAX or any(not c.isprintable() for c in password):
        raise StoreError(
            "the password has control characters or is too long", f"use at most {PASSWORD_MAX} printable characters"
        )


_NUMBERS: Final = {
    "sessions": (65535, "sessions at once"),
    "session_time": (366 * 86400, "seconds of a session"),
    "idle_time": (366 * 86400, "seconds without a packet"),
    "quota_octets": (1 << 60, "octets of a quota"),
    "quota_time": (366 * 86400, "seconds of a quota"),
    "rate_up": (1 << 40, "bits a second"),
    "rate_down": (1 << 40, "bits a second"),
}
_PATTERN: Final = re.compile(r"[!-~]{1,63}", re.ASCII)


def check_grants(grants: Grants) -> None:
    """Refuse settings that mean nothing. Raises ``StoreError``."""
    for name, (most, what) in _NUMBERS.items():
        number = getattr(grants, name)
        if number is not None and not 0 <= number <= most:
            raise StoreError(f"{number} {what} is out of range", f"give 0 (no limit) to {most}")
    if grants.pool is not None and not _POOL_NAME.fullmatch(grants.pool):
        raise StoreError(f"{grants.pool!r} cannot be the name of a pool", "give a name from [network.pools]")
    if grants.hours is not None:
        try:
            Hours.parse(grants.hours)
        except HoursError as error:
            raise StoreError(str(error), 'for example "mon-fri 08:00-18:00, sat 09:00-12:00", or "always"') from None
    if grants.filters is not None:
        try:
            parse_filters(grants.filters)
        except FilterError as error:
            raise StoreError(str(error), 'for example "allow tcp 10.0.0.0/8 443, deny any", or "none"') from None
    if grants.quota_period is not None and grants.quota_period not in PERIODS:
        raise StoreError(f"{grants.quota_period!r} is not a period", f"give {', '.join(PERIODS)}")
    if grants.gateways not in {None, "any"}:
        words = str(grants.gateways).split()
        if not words or len(str(grants.gateways)) > 1024 or not all(_PATTERN.fullmatch(word) for word in words):
            raise StoreError(f"{grants.gateways!r} names no gateway", 'give names or patterns, "vpn-eu-*", or any')


def parse_auth(texts: Iterable[str]) -> tuple[str, ...]:
    """Read allowed authentication methods. Raises ``StoreError``."""
    known = [str(method) for method in AuthMethod if method is not AuthMethod.EAP]
    for text in texts:
        if text not in known:
            raise StoreError(f"{text!r} is not an authentication method", f"write some of {', '.join(known)}")
    return tuple(dict.fromkeys(texts))


def check_certificate_name(name: str) -> str:
    """Refuse what cannot be a name in a user's certificate. Raises ``StoreError``."""
    if not name or len(name) > CERTIFICATE_NAME_MAX or not name.isprintable() or any(c.isspace() for c in name):
        raise StoreError(
            f"{name!r} cannot be a name in a user's certificate", "write it as it stands there, like alice@corp.example"
        )
    return name


def parse_address(text: str) -> IPv4Address:
    """Read a static address. Raises ``StoreError``."""
    try:
        address = IPv4Address(text)
    except AddressValueError:
        raise StoreError(f"{text!r} is not an IPv4 address", "write it like 10.99.0.7") from None
    if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_reserved:
        raise StoreError(f"{address} cannot be the address of a host", "take one of a private network") from None
    return address


def parse_prefix6(text: str) -> IPv6Network:
    """Read a static IPv6 prefix. Raises ``StoreError``."""
    try:
        network = IPv6Network(text)
    except ValueError:
        raise StoreError(f"{text!r} is not an IPv6 prefix", "write it like 2001:db8:1:7::/64") from None
    if network.is_multicast or network.is_link_local or network.is_loopback or network.prefixlen < 16:
        raise StoreError(f"{network} cannot be given to a client", "take a block of network.ipv6_prefixes")
    return network
