"""Accounts and groups as values, and how a user's settings come together: gateway, then group, then the user's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address
from typing import Any, Final

from headrace.access.hours import Hours, HoursError
from headrace.access.seal import StoreError
from headrace.model import Encryption
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
    dialin_by: str
    encryption: Encryption
    pool: str
    """Empty: the gateway's first."""
    sessions: int
    hours: Hours
    hours_by: str
    auth: tuple[AuthMethod, ...] = ()
    """Most wanted first; empty: what the gateway allows."""
    auth_by: str = ""


def effective(user: User, *, gateway: str = "headrace", encryption: Encryption = Encryption.OPTIONAL) -> Effective:
    """Lay the user's settings over the group's, and these over the gateway's.

    The gateway's own: everybody may dial in, at all hours, without limit, out of the first pool, with the encryption it is set to. Raises
    ``ValueError`` for settings that cannot have been made here.
    """
    layers = [(f"gateway {gateway}", Grants(dialin=True, encryption=encryption, pool="", sessions=0, hours="always", auth=()))]
    if user.group is not None:
        layers.append((f"group {user.group.name}", user.group.grants))
    layers.append((f"account {user.name}", user.grants))

    def top(name: str) -> tuple[str, Any]:
        return next((by, value) for by, grants in reversed(layers) if (value := getattr(grants, name)) is not None)

    dialin_by, dialin = top("dialin")
    hours_by, hours = top("hours")
    auth_by, auth = top("auth")
    return Effective(
        dialin=dialin,
        dialin_by=dialin_by,
        encryption=top("encryption")[1],
        pool=top("pool")[1],
        sessions=top("sessions")[1],
        hours=Hours.parse(hours),
        hours_by=hours_by,
        auth=tuple(AuthMethod(name) for name in auth),
        auth_by=auth_by,
    )


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


def check_grants(grants: Grants) -> None:
    """Refuse settings that mean nothing. Raises ``StoreError``."""
    if grants.sessions is not None and not 0 <= grants.sessions <= 65535:
        raise StoreError(f"{grants.sessions} sessions at once is out of range", "give 0 (no limit) to 65535")
    if grants.pool is not None and not _POOL_NAME.fullmatch(grants.pool):
        raise StoreError(f"{grants.pool!r} cannot be the name of a pool", "give a name from [network.pools]")
    if grants.hours is not None:
        try:
            Hours.parse(grants.hours)
        except HoursError as error:
            raise StoreError(str(error), 'for example "mon-fri 08:00-18:00, sat 09:00-12:00", or "always"') from None


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
