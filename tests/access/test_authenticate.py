"""Judging proofs: MS-CHAPv2, PAP, CHAP-MD5; what is said of an account, and to whom."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.access import store
from headrace.access.authenticate import Authenticator
from headrace.access.store import AccountStore
from headrace.errors import Slug
from headrace.model import Encryption
from headrace.ppp.chap import md5_response
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject
from headrace.ppp.events import AuthRequest
from headrace.ppp.mschap_crypto import authenticator_response, challenge_hash, nt_password_hash, nt_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLIENT = ip_address("198.51.100.7")
WALL = datetime(2026, 11, 23, 12, 0).astimezone().timestamp()  # a Monday


@dataclass
class Bounds:
    max_failures: int = 5
    max_failures_total: int = 50
    failure_window: float = 60.0
    lockout_time: float = 300.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_ARGON2_MEMORY", 64)


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[AccountStore]:
    with AccountStore(tmp_path / "a.db", tmp_path / "a.key") as opened:
        opened.add_user("User", "clientPass")
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def judge(accounts: AccountStore, clock: Clock) -> Authenticator:
    return Authenticator(accounts, Bounds(), gateway="vpn", clock=clock, wall=lambda: WALL)


def mschap(name: bytes, password: str, seed: int = 1) -> AuthRequest:
    rand = random.Random(seed)
    ours, theirs = rand.randbytes(16), rand.randbytes(16)
    response = nt_response(nt_password_hash(password), challenge_hash(theirs, ours, name))
    return AuthRequest(1, AuthMethod.MSCHAP_V2, name, 7, ours, theirs + bytes(8) + response + b"\0")


def pap(name: bytes, password: bytes) -> AuthRequest:
    return AuthRequest(1, AuthMethod.PAP, name, 7, b"", password)


def md5(name: bytes, password: bytes) -> AuthRequest:
    return AuthRequest(1, AuthMethod.CHAP_MD5, name, 7, b"challenge", md5_response(7, password, b"challenge"))


def accepted(answer: object) -> AuthAccept:
    assert isinstance(answer, AuthAccept), answer
    return answer


def refused(answer: object, slug: Slug) -> AuthReject:
    assert isinstance(answer, AuthReject), answer
    assert answer.slug is slug
    assert "clientPass" not in answer.detail
    return answer


def test_rfc_2759_sample(judge: Authenticator) -> None:
    """RFC 2759 section 9.2 and RFC 3079 section 3.5.3: the same name, password and challenges."""
    ours = bytes.fromhex("5b5d7c7d7b3f2f3e3c2c602132262628")
    theirs = bytes.fromhex("21402324255e262a28295f2b3a337c7e")
    response = bytes.fromhex("82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df")
    request = AuthRequest(1, AuthMethod.MSCHAP_V2, b"User", 0, ours, theirs + bytes(8) + response + b"\0")
    answer = accepted(judge.check(request, CLIENT))
    assert answer.username == "User"
    assert answer.mschap_success == b"S=407A5589115FD0D6209F510FE9C04566932CDA56"
    assert answer.mppe_send_key is not None
    assert answer.mppe_recv_key is not None
    assert answer.mppe_send_key.hex() == "8b7cdc149b993a1ba118cb153f56dccb"
    assert answer.mppe_recv_key.hex() == "d5f0e9521e3ea9589645e86051c82226"


@pytest.mark.parametrize("name", [b"User", b"USER", b"user", b"CORP\\user"])
def test_name_is_found_whatever_its_capitals_and_domain(judge: Authenticator, name: bytes) -> None:
    answer = accepted(judge.check(mschap(name, "clientPass"), CLIENT))
    assert answer.username == "User"
    assert answer.encryption is Encryption.OPTIONAL
    assert answer.address is None


def test_account_with_a_domain_of_its_own_comes_first(accounts: AccountStore, judge: Authenticator) -> None:
    accounts.add_user("CORP\\user", "other")
    assert accepted(judge.check(mschap(b"corp\\USER", "other"), CLIENT)).username == "CORP\\user"
    refused(judge.check(mschap(b"corp\\user", "clientPass"), CLIENT), Slug.AUTH_FAILED)


def test_server_proof_fits_the_response(judge: Authenticator) -> None:
    request = mschap(b"User", "clientPass", seed=9)
    answer = accepted(judge.check(request, CLIENT))
    nt_hash = nt_password_hash("clientPass")
    challenge8 = challenge_hash(request.response[:16], request.challenge, b"User")
    assert answer.mschap_success == authenticator_response(nt_hash, request.response[24:48], challenge8).encode()


def test_wrong_password_and_unknown_name(judge: Authenticator) -> None:
    wrong = refused(judge.check(mschap(b"User", "clientPasS"), CLIENT), Slug.AUTH_FAILED)
    unknown = refused(judge.check(mschap(b"nobody", "clientPass"), CLIENT), Slug.USER_UNKNOWN)
    assert (wrong.retry, wrong.delay) == (unknown.retry, unknown.delay)  # a stranger cannot tell them apart


def test_n135_unknown_name_does_the_same_work(
    judge: Authenticator, accounts: AccountStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.access import authenticate

    calls: list[str] = []

    def spy(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            calls.append(name)
            return original(*args, **named)

        return call

    for name in ("nt_response", "verify_password", "md5_response", "authenticator_response", "start_keys"):
        monkeypatch.setattr(authenticate, name, spy(name, getattr(authenticate, name)))
    for known, unknown in (
        (mschap(b"User", "x"), mschap(b"nobody", "x")),
        (pap(b"User", b"x"), pap(b"nobody", b"x")),
        (md5(b"User", b"x"), md5(b"nobody", b"x")),
    ):
        work = []
        for request in (known, unknown):
            calls.clear()
            judge.check(request, CLIENT)
            work.append(list(calls))
        assert work[0] == work[1]
        assert work[0]


def test_response_to_another_challenge(judge: Authenticator) -> None:
    request = mschap(b"User", "clientPass")
    refused(judge.check(replace(request, challenge=bytes(16)), CLIENT), Slug.AUTH_FAILED)


@pytest.mark.parametrize("size", [0, 15, 48, 50, 255])
def test_response_of_another_size(judge: Authenticator, size: int) -> None:
    refused(judge.check(replace(mschap(b"User", "clientPass"), response=bytes(size)), CLIENT), Slug.AUTH_FAILED)


@pytest.mark.parametrize(
    "name", [b"", b"x" * 1000, b"\xff\xfe", b"User\x00", b"a\nb\x1b[31m", "\u202eresU".encode(), b"\\", b"User\\"]
)
def test_odd_names_are_refused_and_printed_escaped(judge: Authenticator, name: bytes) -> None:
    answer = refused(judge.check(mschap(name, "clientPass"), CLIENT), Slug.USER_UNKNOWN)
    assert answer.detail.isprintable()
    assert len(answer.detail) < 600


def test_pap(judge: Authenticator) -> None:
    answer = accepted(judge.check(pap(b"user", b"clientPass"), CLIENT))
    assert answer.mschap_success is None
    assert answer.mppe_send_key is None
    for wrong in (b"", b"clientPas", b"clientPass ", b"x" * 255, b"\xff"):
        refused(judge.check(pap(b"user", wrong), ip_address("192.0.2.1")), Slug.AUTH_FAILED)


def test_pap_against_an_account_with_an_nt_hash_only(accounts: AccountStore, judge: Authenticator) -> None:
    with accounts._engine.begin() as db:
        db.exec_driver_sql("UPDATE users SET password_hash = NULL")
    accepted(judge.check(pap(b"user", b"clientPass"), CLIENT))
    refused(judge.check(pap(b"user", b"other"), CLIENT), Slug.AUTH_FAILED)


def test_chap_md5_needs_a_recoverable_password(accounts: AccountStore, judge: Authenticator) -> None:
    answer = refused(judge.check(md5(b"user", b"clientPass"), CLIENT), Slug.NO_NT_HASH)
    assert "it serves mschap-v2, pap" in answer.detail
    accounts.set_password("user", "clientPass", recoverable=True)
    accepted(judge.check(md5(b"user", b"clientPass"), CLIENT))
    refused(judge.check(md5(b"user", b"other"), CLIENT), Slug.AUTH_FAILED)


def test_mschap_without_an_nt_hash(accounts: AccountStore, judge: Authenticator) -> None:
    with accounts._engine.begin() as db:
        db.exec_driver_sql("UPDATE users SET nt_hash = NULL")
    refused(judge.check(mschap(b"User", "clientPass"), CLIENT), Slug.NO_NT_HASH)


@pytest.mark.parametrize(
    ("change", "slug", "words"),
    [
        ({"disabled": True}, Slug.ACCOUNT_DISABLED, "account User is disabled"),
        ({"expires": WALL}, Slug.ACCOUNT_EXPIRED, "account User expired 2026-11-23 12:00"),
        ({"password_expires": WALL - 1}, Slug.PASSWORD_EXPIRED, "the password of User expired 2026-11-23 11:59"),
        ({"dialin": False}, Slug.DIALIN_DENIED, "account User denies dial-in"),
        ({"hours": "mon 08:00-12:00, tue 08:00-18:00"}, Slug.HOURS, "account User allows mon 08:00-12:00, tue"),
    ],
)
def test_n142_facts_about_an_account_are_told_only_to_who_has_its_password(
    accounts: AccountStore, judge: Authenticator, change: dict[str, Any], slug: Slug, words: str
) -> None:
    accounts.set_user("User", **change)
    answer = refused(judge.check(mschap(b"User", "clientPass"), CLIENT), slug)
    assert words in answer.detail
    assert not answer.retry
    refused(judge.check(mschap(b"User", "guess"), CLIENT), Slug.AUTH_FAILED)


@pytest.mark.parametrize("change", [{"expires": WALL + 1}, {"password_expires": WALL + 1}, {"hours": "mon 12:00-12:01"}])
def test_account_is_good_until_its_last_moment(accounts: AccountStore, judge: Authenticator, change: dict[str, Any]) -> None:
    accounts.set_user("User", **change)
    accepted(judge.check(mschap(b"User", "clientPass"), CLIENT))


def test_group_speaks_for_its_members(accounts: AccountStore, judge: Authenticator) -> None:
    accounts.add_group("staff", dialin=False, pool="guests", encryption=Encryption.REQUIRED)
    accounts.set_user("User", group="staff")
    assert "group staff denies" in refused(judge.check(mschap(b"User", "clientPass"), CLIENT), Slug.DIALIN_DENIED).detail
    accounts.set_group("staff", dialin=True, disabled=True)
    assert "group staff of User is" in refused(judge.check(mschap(b"User", "clientPass"), CLIENT), Slug.ACCOUNT_DISABLED).detail
    accounts.set_group("staff", disabled=False)
    accounts.set_user("User", address=IPv4Address("10.0.0.7"), any_address=True)
    answer = accepted(judge.check(mschap(b"User", "clientPass"), CLIENT))
    assert (answer.pool, answer.encryption) == ("guests", Encryption.REQUIRED)
    assert (answer.address, answer.allow_any_address) == (IPv4Address("10.0.0.7"), True)


def test_limit_of_sessions_at_once(accounts: AccountStore, judge: Authenticator) -> None:
    accounts.set_user("User", sessions=2)
    for owner in ("s1", "s2", "s2"):  # a session that authenticates again does not count twice
        accepted(judge.check(mschap(b"User", "clientPass"), CLIENT, owner))
    answer = refused(judge.check(mschap(b"User", "clientPass"), CLIENT, "s3"), Slug.USER_LIMIT)
    assert answer.detail == "User has 2 of 2 sessions"
    assert judge.in_use("USER") == 2
    judge.ended("s1")
    judge.ended("s1")
    judge.ended("never was")
    accepted(judge.check(mschap(b"User", "clientPass"), CLIENT, "s3"))


def test_limit_holds_when_all_come_at_once(accounts: AccountStore, judge: Authenticator) -> None:
    accounts.set_user("User", sessions=3)
    request = mschap(b"User", "clientPass")
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda i: judge.check(request, CLIENT, f"s{i}"), range(16)))
    assert sum(isinstance(answer, AuthAccept) for answer in answers) == 3


def test_n143_twenty_wrong_passwords(judge: Authenticator, clock: Clock) -> None:
    delays = []
    for i in range(20):
        clock.now = float(i)
        answer = judge.check(mschap(b"User", "guess"), CLIENT)
        assert isinstance(answer, AuthReject)
        assert answer.slug is (Slug.AUTH_FAILED if i < 5 else Slug.AUTH_LOCKED)
        delays.append(answer.delay)
    assert delays[4] > delays[2] > delays[1] == 0.0
    locked = refused(judge.check(mschap(b"User", "clientPass"), CLIENT), Slug.AUTH_LOCKED)
    assert "locked for another" in locked.detail
    accepted(judge.check(mschap(b"User", "clientPass"), ip_address("192.0.2.1")))
    clock.now = 305.0
    accepted(judge.check(mschap(b"User", "clientPass"), CLIENT))


def test_n211_broken_store_lets_nobody_in(accounts: AccountStore, judge: Authenticator) -> None:
    with accounts._engine.begin() as db:
        db.exec_driver_sql("DROP TABLE users")
    answer = refused(judge.check(mschap(b"User", "clientPass"), CLIENT), Slug.INTERNAL)
    assert "is damaged" in answer.detail


def test_n211_impossible_hours_in_the_database(accounts: AccountStore, judge: Authenticator) -> None:
    with accounts._engine.begin() as db:
        db.exec_driver_sql("UPDATE users SET hours = 'rubbish'")
    refused(judge.check(mschap(b"User", "clientPass"), CLIENT), Slug.INTERNAL)


def test_n210_removed_account_is_refused_at_once(accounts: AccountStore, judge: Authenticator) -> None:
    accepted(judge.check(mschap(b"User", "clientPass"), CLIENT))
    accounts.remove_user("User")
    refused(judge.check(mschap(b"User", "clientPass"), CLIENT), Slug.USER_UNKNOWN)


def test_secrets_are_not_in_the_repr(judge: Authenticator) -> None:
    answer = accepted(judge.check(mschap(b"User", "clientPass"), CLIENT))
    assert answer.mppe_send_key is not None
    assert answer.mppe_send_key.hex() not in repr(answer)
    assert repr(answer.mppe_send_key) not in repr(answer)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([method for method in AuthMethod if method is not AuthMethod.EAP]),
    st.binary(max_size=80),
    st.binary(max_size=20),
    st.binary(max_size=64),
)
def test_garbage_is_refused_and_never_raises(
    tmp_path_factory: pytest.TempPathFactory, method: AuthMethod, name: bytes, challenge: bytes, response: bytes
) -> None:
    base = tmp_path_factory.getbasetemp() / "garbage"
    with AccountStore(base / "a.db", base / "a.key") as opened:
        judge = Authenticator(opened, Bounds())
        assert isinstance(judge.check(AuthRequest(1, method, name, 1, challenge, response), CLIENT), AuthReject)
