"""Who may come in after the proof: methods, gateways, quotas, sessions at once, and what a session may use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from headrace.access import store
from headrace.access.admission import Admission
from headrace.access.quota import Usage, period_of
from headrace.access.store import AccountStore
from headrace.errors import Slug
from headrace.model import FilterAction, SessionLimits
from headrace.ppp.config import AuthAccept, AuthMethod, AuthReject

NOON = datetime(2026, 11, 23, 12).astimezone().timestamp()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_ARGON2_MEMORY", 64)


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[AccountStore]:
    with AccountStore(tmp_path / "a.db", tmp_path / "a.key", clock=lambda: NOON) as opened:
        opened.add_group("staff")
        opened.add_user("alice", "x", group="staff")
        yield opened


def admission(accounts: AccountStore, gateway: str = "vpn-eu-1") -> Admission:
    return Admission(accounts, gateway=gateway, wall=lambda: NOON)


def decide(accounts: AccountStore) -> AuthAccept | AuthReject:
    return admission(accounts).decide(accounts.user("alice"), AuthMethod.MSCHAP_V2)


@pytest.mark.parametrize(
    ("group", "user", "slug", "words"),
    [
        ({"auth": ("pap", "eap-tls")}, {}, Slug.AUTH_METHOD, "group staff allows pap, eap-tls to alice, not mschap-v2"),
        ({"auth": ("pap",)}, {"auth": ("mschap-v2",)}, None, ""),
        ({"auth": ("pap",)}, {"auth": ()}, None, ""),
        ({"gateways": "vpn-us-* lab"}, {}, Slug.DIALIN_DENIED, "this one is vpn-eu-1"),
        ({"gateways": "vpn-us-* VPN-EU-*"}, {}, None, ""),
        ({"hours": "sun 08:00-09:00"}, {}, Slug.HOURS, "mon 12:00"),
        ({"disabled": True}, {}, Slug.ACCOUNT_DISABLED, "group staff"),
        ({}, {"expires": NOON}, Slug.ACCOUNT_EXPIRED, "expired 2026-11-23"),
        ({"dialin": False}, {}, Slug.DIALIN_DENIED, "group staff denies"),
    ],
)
def test_refusals_name_the_rule(
    accounts: AccountStore, group: dict[str, Any], user: dict[str, Any], slug: Slug | None, words: str
) -> None:
    accounts.set_group("staff", **group)
    accounts.set_user("alice", **user)
    verdict = decide(accounts)
    if slug is None:
        assert isinstance(verdict, AuthAccept)
        return
    assert isinstance(verdict, AuthReject)
    assert (verdict.slug, words in verdict.detail, verdict.retry) == (slug, True, False), verdict


def test_what_a_session_may_use(accounts: AccountStore) -> None:
    accounts.set_group("staff", session_time=3600, idle_time=600, rate_up=1000000, filters="deny 10.0.0.0/8")
    prefix = IPv6Network("2001:db8:0:7::/64")
    accounts.set_user("alice", idle_time=0, rate_down=2000000, address=IPv4Address("10.9.0.7"), prefix6=prefix)
    verdict = decide(accounts)
    assert isinstance(verdict, AuthAccept)
    assert (verdict.address, verdict.prefix6) == (IPv4Address("10.9.0.7"), prefix)
    limits = verdict.limits
    assert (limits.session_time, limits.idle_time, limits.rate_up, limits.rate_down) == (3600, 0, 1000000, 2000000)
    assert [(rule.action, str(rule.destination)) for rule in limits.filters] == [(FilterAction.DENY, "10.0.0.0/8")]
    assert (limits.quota_octets, limits.quota_time) == (None, None)


def test_without_settings_the_gateways_own_count(accounts: AccountStore) -> None:
    verdict = decide(accounts)
    assert isinstance(verdict, AuthAccept)
    assert verdict.limits == SessionLimits()


def test_quota_is_what_is_left_of_the_period(accounts: AccountStore) -> None:
    accounts.set_user("alice", quota_octets=1000, quota_time=600, quota_period="day")
    judge = admission(accounts)
    judge.used("ALICE", 300, 100.0)
    judge.used("alice", 300, 100.0)
    judge.used("nobody", 300, 100.0)
    accounts.add_usage("alice", "2026-11-22", Usage(9999, 9999.0))  # forgotten with what came before
    judge.used("alice", 600, 200.0)
    verdict = decide(accounts)
    assert isinstance(verdict, AuthAccept)
    assert (verdict.limits.quota_octets, verdict.limits.quota_time) == (400, 400.0)
    judge.used("alice", 400, 0.0)
    verdict = decide(accounts)
    assert isinstance(verdict, AuthReject)
    assert verdict.slug is Slug.QUOTA
    assert "used 1000 of 1000 octets in 2026-11-23 (by account alice)" in verdict.detail
    accounts.set_user("alice", quota_octets=None)
    judge.used("alice", 0, 400.0)
    verdict = decide(accounts)
    assert isinstance(verdict, AuthReject)
    assert "used 600 of 600 s" in verdict.detail
    accounts.remove_user("alice")


def test_usage_is_not_written_down_where_there_is_no_quota(accounts: AccountStore) -> None:
    admission(accounts).used("alice", 300, 1.0)
    assert accounts.usage("alice", "2026-11") == Usage()


@pytest.mark.parametrize(
    ("period", "name"), [("day", "2026-11-23"), ("week", "2026-W48"), ("month", "2026-11"), ("total", "total")]
)
def test_periods(period: str, name: str) -> None:
    assert period_of(datetime.fromtimestamp(NOON).astimezone(), period) == name


def test_at_the_limit_a_new_session_is_refused_or_replaces_the_oldest(accounts: AccountStore) -> None:
    accounts.set_user("alice", sessions=2)
    judge, user = admission(accounts), accounts.user("alice")
    assert isinstance(judge.decide(user, AuthMethod.PAP, "s1"), AuthAccept)
    assert isinstance(judge.decide(user, AuthMethod.PAP, "s2"), AuthAccept)
    assert isinstance(judge.decide(user, AuthMethod.PAP, "s2"), AuthAccept), "the same again"
    refused = judge.decide(user, AuthMethod.PAP, "s3")
    assert isinstance(refused, AuthReject)
    assert refused.slug is Slug.USER_LIMIT
    user = accounts.set_user("alice", replace=True)
    third = judge.decide(user, AuthMethod.PAP, "s3")
    assert isinstance(third, AuthAccept)
    assert third.replaces == ("s1",)
    assert judge.in_use("Alice") == 2
    user = accounts.set_user("alice", sessions=1)
    fourth = judge.decide(user, AuthMethod.PAP, "s4")
    assert isinstance(fourth, AuthAccept)
    assert fourth.replaces == ("s2", "s3")
    judge.ended("s4")
    assert judge.in_use("alice") == 0
