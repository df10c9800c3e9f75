"""Judges a user's proof against the account store: right or wrong first, then whether the account may come in.

A stranger learns nothing from it: an unknown name takes the same steps, with the same work, as a wrong password, and facts about an account
(disabled, expired, hours) are told only to who has its password. It works in any thread, several at once.
"""

from __future__ import annotations

import hmac
import secrets as system
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from headrace.access.accounts import NAME_MAX, Effective, Secrets, User, effective, name_key
from headrace.access.seal import StoreError
from headrace.access.store import hash_password, verify_password
from headrace.access.throttle import LockoutPolicy, Throttle
from headrace.errors import Slug
from headrace.model import Encryption, printable
from headrace.ppp.chap import md5_response
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject
from headrace.ppp.mppe import start_keys
from headrace.ppp.mschap import RESPONSE_SIZE, authenticator_response, challenge_hash, nt_password_hash, nt_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.access.store import AccountStore
    from headrace.model import IPAddress
    from headrace.ppp.events import AuthRequest

_REPEATED: Final = 4 * NAME_MAX
"""Octets of a name that are looked at; none of ours has more."""


@dataclass(frozen=True, slots=True)
class _Proof:
    """What became of a proof."""

    good: bool
    usable: bool = True
    """The store holds what this method needs."""
    success: bytes | None = field(default=None, repr=False)
    keys: tuple[bytes, bytes] | None = field(default=None, repr=False)
    """Send and receive, from our view."""


class Authenticator:
    """Judges proofs. ``gateway`` and ``encryption`` are the gateway's name and policy, on which groups and accounts stand."""

    def __init__(
        self,
        store: AccountStore,
        policy: LockoutPolicy,
        *,
        gateway: str = "headrace",
        encryption: Encryption = Encryption.OPTIONAL,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._encryption = encryption
        self._clock = clock
        self._wall = wall
        self._throttle = Throttle(policy)
        self._in_use: dict[str, str] = {}
        """Who came in, by owner: what counts against the limit of sessions at once."""
        self._lock = threading.Lock()
        # Nobody's password: the work for a name that does not exist.
        self._nobody = Secrets(system.token_bytes(16), hash_password(system.token_hex(16)), system.token_bytes(16))

    def check(self, request: AuthRequest, address: IPAddress, owner: str = "") -> AuthAccept | AuthReject:
        """Judge one proof that came from ``address``.

        ``owner`` names the session that it is for, until ``ended(owner)``; without one the session does not count. Never raises for what a
        peer sent; a store that fails is a refusal.
        """
        raw = request.username[:_REPEATED]
        name = raw.decode("utf-8", "replace")
        now = self._clock()
        try:
            user, secrets = self._find(name)
            grants = effective(user, gateway=self._gateway, encryption=self._encryption) if user is not None else None
        except (StoreError, ValueError) as error:
            return AuthReject(Slug.INTERNAL, str(error))
        key = user.key if user is not None else name_key(name)
        with self._lock:
            locked = self._throttle.locked(key, address, now)
        if locked:
            return AuthReject(Slug.AUTH_LOCKED, f"{printable(raw)} is locked for another {locked:.0f} s after wrong passwords")
        proof = self._prove(request, secrets or self._nobody)
        with self._lock:
            if user is None or grants is None or not proof.good or not proof.usable:
                delay = self._throttle.failed(key, address, now)
                return self._refuse(request, raw, user, proof, delay)
            self._throttle.succeeded(key, address)
            return self._may(user, grants) or self._limit(user, grants, owner) or self._admit(user, grants, owner, proof)

    def ended(self, owner: str) -> None:
        """A session is over: it no longer counts. Harmless for one that never did."""
        with self._lock:
            self._in_use.pop(owner, None)

    def in_use(self, name: str) -> int:
        """How many sessions an account has."""
        key = name_key(name)
        with self._lock:
            return sum(user == key for user in self._in_use.values())

    def _find(self, name: str) -> tuple[User | None, Secrets | None]:
        """An account by its whole name, else by what stands behind the domain."""
        found = self._store.find(name)
        bare = name.rpartition("\\")[2]
        if found is None and bare != name:
            found = self._store.find(bare)
        return found if found is not None else (None, None)

    # --- the proof ------------------------------------------------------------------------------------------------------

    def _prove(self, request: AuthRequest, secrets: Secrets) -> _Proof:
        match request.method:
            case AuthMethod.MSCHAP_V2:
                return self._prove_mschap(request, secrets)
            case AuthMethod.PAP:
                return self._prove_pap(request, secrets)
            case AuthMethod.CHAP_MD5:
                return self._prove_md5(request, secrets)

    def _prove_mschap(self, request: AuthRequest, secrets: Secrets) -> _Proof:
        value = request.response
        if len(value) != RESPONSE_SIZE:
            return _Proof(good=False)
        assert self._nobody.nt_hash is not None
        nt_hash = secrets.nt_hash or self._nobody.nt_hash
        challenge8 = challenge_hash(value[:16], request.challenge, request.username)
        response = value[24:48]
        good = hmac.compare_digest(nt_response(nt_hash, challenge8), response)
        # Made for a wrong proof too: the time must not tell.
        success = authenticator_response(nt_hash, response, challenge8).encode()
        return _Proof(good, secrets.nt_hash is not None, success, start_keys(nt_hash, response, server=True))

    def _prove_pap(self, request: AuthRequest, secrets: Secrets) -> _Proof:
        password = request.response
        if secrets.password_hash is not None:
            return _Proof(good=verify_password(password, secrets.password_hash))
        assert self._nobody.password_hash is not None
        verify_password(password, self._nobody.password_hash)
        given = nt_password_hash(password.decode("utf-8", "replace"))
        return _Proof(secrets.nt_hash is not None and hmac.compare_digest(given, secrets.nt_hash), secrets.nt_hash is not None)

    def _prove_md5(self, request: AuthRequest, secrets: Secrets) -> _Proof:
        assert self._nobody.recoverable is not None
        password = secrets.recoverable or self._nobody.recoverable
        expected = md5_response(request.identifier, password, request.challenge)
        return _Proof(hmac.compare_digest(expected, request.response), secrets.recoverable is not None)

    # --- the verdict ----------------------------------------------------------------------------------------------------

    def _refuse(self, request: AuthRequest, raw: bytes, user: User | None, proof: _Proof, delay: float) -> AuthReject:
        shown = printable(raw)
        if user is None:
            return AuthReject(Slug.USER_UNKNOWN, f"there is no account {shown}", retry=True, delay=delay)
        if not proof.usable:
            detail = f"account {shown} has nothing that {request.method} could check; it serves {', '.join(user.methods) or 'nothing'}"
            return AuthReject(Slug.NO_NT_HASH, detail, retry=True, delay=delay)
        return AuthReject(Slug.AUTH_FAILED, f"wrong password for {shown} ({request.method})", retry=True, delay=delay)

    def _may(self, user: User, grants: Effective) -> AuthReject | None:
        """Whether the account may come in now; the password was right."""
        now = self._wall()
        if user.disabled:
            return AuthReject(Slug.ACCOUNT_DISABLED, f"account {user.name} is disabled")
        if user.group is not None and user.group.disabled:
            return AuthReject(Slug.ACCOUNT_DISABLED, f"group {user.group.name} of {user.name} is disabled")
        if user.expires is not None and now >= user.expires:
            return AuthReject(Slug.ACCOUNT_EXPIRED, f"account {user.name} expired {_date(user.expires)}")
        if user.password_expires is not None and now >= user.password_expires:
            return AuthReject(Slug.PASSWORD_EXPIRED, f"the password of {user.name} expired {_date(user.password_expires)}")
        if not grants.dialin:
            return AuthReject(Slug.DIALIN_DENIED, f"{grants.dialin_by} denies dial-in to {user.name}")
        local = datetime.fromtimestamp(now).astimezone()
        if not grants.hours.allow(local):
            detail = f"{grants.hours_by} allows {grants.hours.text}; here it is {local.strftime('%a %H:%M %Z').lower()}"
            return AuthReject(Slug.HOURS, detail)
        return None

    def _limit(self, user: User, grants: Effective, owner: str) -> AuthReject | None:
        limit = grants.sessions
        used = sum(name == user.key and who != owner for who, name in self._in_use.items()) if limit else 0
        if limit and used >= limit:
            return AuthReject(Slug.USER_LIMIT, f"{user.name} has {used} of {limit} sessions")
        return None

    def _admit(self, user: User, grants: Effective, owner: str, proof: _Proof) -> AuthAccept:
        if owner:
            self._in_use[owner] = user.key
        send, receive = proof.keys or (None, None)
        return AuthAccept(
            username=user.name,
            address=user.address,
            encryption=grants.encryption,
            mschap_success=proof.success,
            mppe_send_key=send,
            mppe_recv_key=receive,
            allow_any_address=user.any_address,
            pool=grants.pool,
        )


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z")
