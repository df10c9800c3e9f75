"""Whose a certificate is, which methods a user may use, and new passwords."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.ppp.eap_kit import authority, certificate, upn

from headrace.access import store
from headrace.access.authenticate import Authenticator
from headrace.access.certificate import NameKind, _utf8, certificate_names
from headrace.access.store import AccountStore, StoreError
from headrace.errors import Slug
from headrace.ppp.config import AuthAccept, AuthMethod, AuthOffer, AuthReject
from headrace.ppp.events import AuthRequest
from headrace.ppp.mschap_crypto import find_new_password, hide_new_password, nt_password_hash, prove

HERE = ip_address("198.51.100.7")
M = AuthMethod
ALL = tuple(NameKind)


@dataclass
class Bounds:
    max_failures: int = 5
    max_failures_total: int = 50
    failure_window: float = 60.0
    lockout_time: float = 300.0


@pytest.fixture
def accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AccountStore]:
    monkeypatch.setattr(store, "_ARGON2_MEMORY", 64)
    with AccountStore(tmp_path / "a.db", tmp_path / "a.key") as opened:
        opened.add_user("alice", "wonderland")
        opened.add_user("bob", "builder")
        yield opened


def leaf(name: str = "alice", *names: x509.GeneralName, **wishes: object) -> bytes:
    return certificate(authority(), name=name, general_names=names, purposes=("client",), **wishes).der


def tls(der: bytes, identity: bytes = b"") -> AuthRequest:
    return AuthRequest(1, M.EAP_TLS, identity, 1, b"", der)


def judge(accounts: AccountStore, *kinds: NameKind, realms: tuple[str, ...] = ()) -> Authenticator:
    return Authenticator(accounts, Bounds(), certificate_kinds=kinds or ALL, realms=realms)


def slug(answer: object) -> Slug:
    assert isinstance(answer, AuthReject), answer
    return answer.slug


# --- names --------------------------------------------------------------------------------------------------------------------


def test_names_in_the_order_of_their_kinds() -> None:
    der = leaf("Alice L.", x509.RFC822Name("alice@mail.example"), upn("alice@corp.example"))
    assert certificate_names(der, ALL) == ("alice@corp.example", "alice@mail.example", "Alice L.")
    assert certificate_names(der, (NameKind.CN, NameKind.UPN)) == ("Alice L.", "alice@corp.example")
    assert certificate_names(der, ()) == ()


@pytest.mark.parametrize(
    ("der", "text"),
    [
        (b"\x0c\x03abc", "abc"),
        (b"\x0c\x81\x03abc", "abc"),
        (b"\x0c\x82\x01\x00" + b"a" * 256, "a" * 256),
        (b"", ""),
        (b"\x0c", ""),
        (b"\x0c\x05abc", ""),
        (b"\x0c\x03abcd", ""),
        (b"\x04\x03abc", ""),
        (b"\x0c\x80", ""),
        (b"\x0c\x84\xff\xff\xff\xff", ""),
        (b"\x0c\x81", ""),
    ],
)
def test_principal_name_in_der(der: bytes, text: str) -> None:
    assert _utf8(der) == text


@given(st.binary(max_size=200))
def test_garbage_has_no_names(der: bytes) -> None:
    assert certificate_names(der, ALL) == ()


# --- accounts -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("der", "identity", "who"),
    [
        (lambda: leaf("alice"), b"alice", "alice"),
        (lambda: leaf("ALICE"), b"", "alice"),
        (lambda: leaf("x", x509.RFC822Name("alice@home.example")), b"alice@home.example", "alice"),
        (lambda: leaf("x", upn("alice@home.example")), b"HOME\\alice", "alice"),
        (lambda: leaf("x", upn("queen@cards.example")), b"queen@cards.example", "bob"),
        (lambda: leaf("x", upn("queen@cards.example")), b"@cards.example", "bob"),
        (lambda: leaf("x", upn("queen@cards.example")), b"anonymous@cards.example", "bob"),
        (lambda: leaf("x", upn("queen@cards.example")), b"bob", "bob"),
    ],
)
def test_whose_it_is(accounts: AccountStore, der: object, identity: bytes, who: str) -> None:
    accounts.set_certificate_names("bob", ["Queen@cards.example"])
    answer = judge(accounts, realms=("home.example",)).check(tls(der(), identity), HERE)  # type: ignore[operator]
    assert isinstance(answer, AuthAccept), answer
    assert answer.username == who
    assert answer.mppe_send_key is None


@pytest.mark.parametrize(
    ("der", "identity", "why"),
    [
        (lambda: leaf("mallory"), b"alice", Slug.USER_UNKNOWN),
        (lambda: leaf("x", x509.RFC822Name("alice@elsewhere.example")), b"alice", Slug.USER_UNKNOWN),
        (lambda: leaf("bob"), b"alice", Slug.EAP_IDENTITY),
        (lambda: leaf("bob"), b"alice@home.example", Slug.EAP_IDENTITY),
        (lambda: leaf("x", subject=x509.Name([])), b"alice", Slug.USER_CERT_OTHER),
        (
            lambda: leaf("x", subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ali\nce")])),
            b"alice",
            Slug.USER_CERT_OTHER,
        ),
        (lambda: b"\x30\x00", b"alice", Slug.USER_CERT_OTHER),
    ],
)
def test_who_it_is_not(accounts: AccountStore, der: object, identity: bytes, why: Slug) -> None:
    assert slug(judge(accounts, realms=("home.example",)).check(tls(der(), identity), HERE)) is why  # type: ignore[operator]


def test_certificate_obeys_what_is_said_of_the_account(accounts: AccountStore) -> None:
    accounts.set_user("alice", password_expires=1.0)  # that is the password's matter
    assert isinstance(judge(accounts).check(tls(leaf()), HERE), AuthAccept)
    accounts.set_user("alice", disabled=True)
    assert slug(judge(accounts).check(tls(leaf()), HERE)) is Slug.ACCOUNT_DISABLED


def test_name_in_certificates_belongs_to_one(accounts: AccountStore) -> None:
    accounts.set_certificate_names("alice", ["a@x.example", "b@x.example"])
    assert accounts.user("alice").certificate_names == ("a@x.example", "b@x.example")
    with pytest.raises(StoreError, match="belongs to another"):
        accounts.set_certificate_names("bob", ["B@X.example"])
    accounts.set_certificate_names("alice", [])
    assert accounts.set_certificate_names("bob", ["B@X.example"]).certificate_names == ("B@X.example",)
    accounts.remove_user("bob")
    assert accounts.find_certificate("b@x.example") is None
    for bad in ("", "a b", "x" * 256, "a\nb"):
        with pytest.raises(StoreError):
            accounts.set_certificate_names("alice", [bad])


# --- methods ------------------------------------------------------------------------------------------------------------------


def test_what_is_offered(accounts: AccountStore) -> None:
    def offer(name: bytes) -> tuple[AuthMethod, ...]:
        answer = judge(accounts).check(AuthRequest(1, M.EAP, name, 1), HERE)
        assert isinstance(answer, AuthOffer)
        return answer.methods

    accounts.add_group("staff", auth=["peap", "mschap-v2", "eap-tls"])
    assert offer(b"alice") == offer(b"nobody") == ()
    accounts.set_user("alice", group="staff")
    assert offer(b"CORP\\Alice") == (M.PEAP, M.EAP_TLS)
    accounts.set_user("alice", auth=["eap-tls"])
    assert offer(b"alice") == (M.EAP_TLS,)
    accounts.set_certificate_names("alice", ["alice@corp.example"])
    assert offer(b"alice@corp.example") == (M.EAP_TLS,)


def test_method_that_is_not_allowed_is_told_after_the_proof(accounts: AccountStore) -> None:
    accounts.set_user("alice", auth=["eap-tls"])
    assert slug(judge(accounts).check(AuthRequest(1, M.PAP, b"alice", 1, b"", b"wonderland"), HERE)) is Slug.AUTH_METHOD
    assert slug(judge(accounts).check(AuthRequest(1, M.PAP, b"alice", 1, b"", b"wrong"), HERE)) is Slug.AUTH_FAILED
    assert isinstance(judge(accounts).check(tls(leaf()), HERE), AuthAccept)


@pytest.mark.parametrize("bad", [["eap"], ["tls"], [""]])
def test_method_that_is_none(accounts: AccountStore, bad: list[str]) -> None:
    with pytest.raises(StoreError, match="not an authentication method"):
        accounts.set_user("alice", auth=bad)


# --- new passwords ------------------------------------------------------------------------------------------------------------


def change(old: str, new: str, name: str = "alice", method: AuthMethod = M.MSCHAP_V2) -> AuthRequest:
    challenge = bytes(range(16))
    hidden = hide_new_password(nt_password_hash(old), new, lambda size: b"\x5a" * size)
    proof = prove(name, new, challenge, lambda size: b"\x11" * size)
    return AuthRequest(1, method, name.encode(), 3, challenge, proof.value, hidden)


@pytest.mark.parametrize("method", [M.MSCHAP_V2, M.EAP_MSCHAP_V2, M.PEAP])
def test_new_password_is_kept(accounts: AccountStore, method: AuthMethod) -> None:
    accounts.set_user("alice", password_expires=1.0)
    answer = judge(accounts).check(change("wonderland", "looking-glass", method=method), HERE)
    assert isinstance(answer, AuthAccept), answer
    assert answer.mschap_success is not None
    again = judge(accounts).check(AuthRequest(1, M.PAP, b"alice", 1, b"", b"looking-glass"), HERE)
    assert isinstance(again, AuthAccept), again
    assert slug(judge(accounts).check(AuthRequest(1, M.PAP, b"alice", 1, b"", b"wonderland"), HERE)) is Slug.AUTH_FAILED


def test_recoverable_password_stays_so(accounts: AccountStore) -> None:
    accounts.set_password("alice", "wonderland", recoverable=True)
    judge(accounts).check(change("wonderland", "looking-glass"), HERE)
    assert M.CHAP_MD5 in accounts.user("alice").methods


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (change("wrong", "looking-glass"), Slug.AUTH_FAILED),
        (change("wonderland", "wonderland"), Slug.PASSWORD_CHANGE),
        (change("wonderland", ""), Slug.PASSWORD_CHANGE),
        (change("wonderland", "a\nb"), Slug.PASSWORD_CHANGE),
        (change("wonderland", "x", name="nobody"), Slug.USER_UNKNOWN),
    ],
)
def test_new_password_is_not_kept(accounts: AccountStore, request_: AuthRequest, why: Slug) -> None:
    assert slug(judge(accounts).check(request_, HERE)) is why
    assert isinstance(judge(accounts).check(AuthRequest(1, M.PAP, b"alice", 1, b"", b"wonderland"), HERE), AuthAccept)


def test_new_password_of_somebody_who_may_not_come_in(accounts: AccountStore) -> None:
    accounts.set_user("alice", disabled=True)
    assert slug(judge(accounts).check(change("wonderland", "looking-glass"), HERE)) is Slug.ACCOUNT_DISABLED
    accounts.set_user("alice", disabled=False)
    assert isinstance(judge(accounts).check(AuthRequest(1, M.PAP, b"alice", 1, b"", b"wonderland"), HERE), AuthAccept)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=128), st.binary(min_size=16, max_size=16))
def test_hidden_password_is_found_again(password: str, old_hash: bytes) -> None:
    change = hide_new_password(old_hash, password, lambda size: b"\xa5" * size)
    assert len(change) == 532
    assert find_new_password(old_hash, change) == password
    assert find_new_password(bytes(16) if old_hash != bytes(16) else b"\1" * 16, change) is None


@given(st.binary(max_size=600), st.binary(min_size=16, max_size=16))
def test_garbage_hides_no_password(change: bytes, old_hash: bytes) -> None:
    assert find_new_password(old_hash, change) is None


# --- version 1 ----------------------------------------------------------------------------------------------------------------


def test_keys_of_version_1_only_where_they_are_asked_for(accounts: AccountStore) -> None:
    from headrace.ppp.mschap_crypto import nt_response

    challenge = bytes(range(8))
    value = bytes(24) + nt_response(nt_password_hash("wonderland"), challenge) + b"\1"
    request = AuthRequest(1, M.MSCHAP, b"alice", 1, challenge, value)
    answer = judge(accounts).check(request, HERE)
    assert isinstance(answer, AuthAccept)
    assert answer.mppe_send_key is None
    answer = Authenticator(accounts, Bounds(), mschap_mppe=True).check(request, HERE)
    assert isinstance(answer, AuthAccept)
    assert answer.mppe_send_key == answer.mppe_recv_key
    assert answer.mppe_bits == (128,)
