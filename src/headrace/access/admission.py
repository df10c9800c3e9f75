"""Whether somebody whose proof was right may come in, and what he may use: all that is not about the proof itself.

The checks stand in the order in which they are told. A session counts from ``admit`` to ``ended``.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from headrace.access.accounts import Effective, User, effective, name_key
from headrace.access.quota import Usage, period_of
from headrace.errors import Slug
from headrace.model import Encryption, SessionLimits
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.access.store import AccountStore


class Admission:
    """Decides for one gateway. ``gateway`` and ``encryption`` are its name and policy, on which groups and accounts stand."""

    def __init__(
        self,
        store: AccountStore,
        *,
        gateway: str = "headrace",
        encryption: Encryption = Encryption.OPTIONAL,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._encryption = encryption
        self._wall = wall
        self._in_use: dict[str, str] = {}
        """Who came in, by owner, oldest first: what counts against the limit of sessions at once."""
        self._lock = threading.Lock()

    def change(self, *, encryption: Encryption) -> None:
        """Go on with another policy of the gateway."""
        self._encryption = encryption

    def grants(self, user: User) -> Effective:
        """What counts for a user here. Raises ``ValueError`` for settings that cannot have been made here."""
        return effective(user, gateway=self._gateway, encryption=self._encryption)

    def refusal(self, user: User, method: AuthMethod, *, by_password: bool = True) -> AuthReject | None:
        """Why somebody who has proved to be ``user`` may not come in now and in this way, if so. Raises as ``decide``."""
        return self._may(user, self.grants(user), method, by_password=by_password)

    def decide(self, user: User, method: AuthMethod, owner: str = "", *, by_password: bool = True) -> AuthAccept | AuthReject:
        """Judge somebody who has proved to be ``user`` by ``method``; ``owner`` names the session, without one it does not count.

        ``by_password``: with a password that he had before, so that its age counts. Raises ``StoreError``, and ``ValueError`` for settings
        that cannot have been made here.
        """
        grants = self.grants(user)
        refusal = self._may(user, grants, method, by_password=by_password)
        if refusal is not None:
            return refusal
        limits = self._limits(user, grants)
        if isinstance(limits, AuthReject):
            return limits
        return self._admit(user, grants, limits, owner)

    def ended(self, owner: str) -> None:
        """A session is over: it no longer counts. Harmless for one that never did."""
        with self._lock:
            self._in_use.pop(owner, None)

    def in_use(self, name: str) -> int:
        """How many sessions an account has."""
        key = name_key(name)
        with self._lock:
            return sum(user == key for user in self._in_use.values())

    def used(self, name: str, octets: int, seconds: float) -> None:
        """Note what a session has used, if that counts for its account. Raises ``StoreError``."""
        found = self._store.find(name)
        if found is None or not (octets or seconds):
            return
        grants = self.grants(found[0])
        if grants.quota_octets or grants.quota_time:
            self._store.add_usage(name, period_of(self._now(), grants.quota_period), Usage(octets, seconds))

    # --- the checks -----------------------------------------------------------------------------------------------------------

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._wall()).astimezone()

    def _may(self, user: User, grants: Effective, method: AuthMethod, *, by_password: bool) -> AuthReject | None:
        now = self._wall()
        if user.disabled:
            return AuthReject(Slug.ACCOUNT_DISABLED, f"account {user.name} is disabled")
        if user.group is not None and user.group.disabled:
            return AuthReject(Slug.ACCOUNT_DISABLED, f"group {user.group.name} of {user.name} is disabled")
        if user.expires is not None and now >= user.expires:
            return AuthReject(Slug.ACCOUNT_EXPIRED, f"account {user.name} expired {_date(user.expires)}")
        if grants.auth and method not in grants.auth:
            detail = f"{grants.by['auth']} allows {', '.join(grants.auth)} to {user.name}, not {method}"
            return AuthReject(Slug.AUTH_METHOD, detail)
        if by_password and user.password_expires is not None and now >= user.password_expires:
            return AuthReject(Slug.PASSWORD_EXPIRED, f"the password of {user.name} expired {_date(user.password_expires)}")
        if not grants.dialin:
            return AuthReject(Slug.DIALIN_DENIED, f"{grants.by['dialin']} denies dial-in to {user.name}")
        if not grants.on_gateway(self._gateway):
            detail = f"{grants.by['gateways']} allows gateways {' '.join(grants.gateways)}; this one is {self._gateway}"
            return AuthReject(Slug.DIALIN_DENIED, detail)
        local = self._now()
        if not grants.hours.allow(local):
            detail = f"{grants.by['hours']} allows {grants.hours.text}; here it is {local.strftime('%a %H:%M %Z').lower()}"
            return AuthReject(Slug.HOURS, detail)
        return None

    def _limits(self, user: User, grants: Effective) -> SessionLimits | AuthReject:
        """What the session may use: the settings, and what is left of a quota."""
        limits = SessionLimits(
            session_time=grants.session_time,
            idle_time=grants.idle_time,
            rate_up=grants.rate_up,
            rate_down=grants.rate_down,
            filters=grants.filters,
        )
        if not (grants.quota_octets or grants.quota_time):
            return limits
        period = period_of(self._now(), grants.quota_period)
        used = self._store.usage(user.name, period)
        where = f"{user.name} has used {{}} of {{}} in {period} (by {{}})"
        if grants.quota_octets and used.octets >= grants.quota_octets:
            by = grants.by["quota_octets"]
            return AuthReject(Slug.QUOTA, where.format(used.octets, f"{grants.quota_octets} octets", by))
        if grants.quota_time and used.seconds >= grants.quota_time:
            return AuthReject(
                Slug.QUOTA, where.format(f"{used.seconds:.0f}", f"{grants.quota_time} s", grants.by["quota_time"])
            )
        return replace(
            limits,
            quota_octets=grants.quota_octets - used.octets if grants.quota_octets else None,
            quota_time=grants.quota_time - used.seconds if grants.quota_time else None,
        )

    def _admit(self, user: User, grants: Effective, limits: SessionLimits, owner: str) -> AuthAccept | AuthReject:
        with self._lock:
            others = [who for who, name in self._in_use.items() if name == user.key and who != owner] if grants.sessions else []
            over = len(others) + 1 - grants.sessions if grants.sessions else 0
            if over > 0 and not grants.replace:
                return AuthReject(Slug.USER_LIMIT, f"{user.name} has {len(others)} of {grants.sessions} sessions")
            evicted = tuple(others[: max(over, 0)])
            for who in evicted:
                del self._in_use[who]
            if owner:
                self._in_use[owner] = user.key
        return AuthAccept(
            username=user.name,
            address=user.address,
            prefix6=user.prefix6,
            encryption=grants.encryption,
            allow_any_address=user.any_address,
            pool=grants.pool,
            limits=limits,
            replaces=evicted,
        )


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z")
