"""The event stream: one human line and one JSON form each."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any

import pytest

from headrace.errors import Slug
from headrace.model import Endpoint, Failure, Rung
from headrace.shell import events as out
from headrace.shell.events import client_kind, duration, nat_verdict, octets, rung_seconds
from headrace.stack import events as stack

T0 = 1_800_000_000.0
REMOTE = Endpoint.of("203.0.113.9", 4500)
LOCAL = Endpoint.of("198.51.100.1", 4500)


def stack_session() -> stack.SessionRecord:
    peer = stack.PeerRecord(
        handle=3,
        local=LOCAL,
        remote=REMOTE,
        auth="psk",
        remote_id="192.168.1.2",
        vendor="Windows (MS NT5 9)",
        ike_proposal="aes256-sha1-ecp384",
        esp_proposal="aes256-sha1",
        nat_remote=True,
        since=10.0,
    )
    record = stack.SessionRecord(
        handle=7, peer=peer, local_tunnel=1, local_session=2, remote_tunnel=3, remote_session=4, index=0, host_name="PC"
    )
    record.username = "alice"
    record.auth_method = "mschap-v2"
    record.remote_address = IPv4Address("10.99.0.7")
    record.local_address = IPv4Address("10.99.0.1")
    record.mtu = 1400
    record.rungs = {Rung.IKE_PROPOSAL: 10.0, Rung.IKE_AUTH: 10.25, Rung.ESP: 10.5, Rung.NETWORK: 11.0}
    return record


def session() -> out.SessionRecord:
    return out.SessionRecord.of(stack_session(), wall=T0, rx_packets=5, rx_bytes=1500, tx_packets=6, tx_bytes=2_500_000)


def peer() -> out.PeerRecord:
    return out.PeerRecord.of(stack_session().peer, wall=T0)


def test_records_of_our_own_client_name_the_ends_as_those_of_a_gateway_do() -> None:
    """Ours is the client's address, the far one the gateway's; and a NAT before the far end stands before the gateway."""
    record = out.SessionRecord.of(stack_session(), wall=T0, dialled=True)
    assert (record.outer, record.gateway) == (LOCAL, REMOTE)
    assert (record.inner, record.inner_gateway) == (IPv4Address("10.99.0.1"), IPv4Address("10.99.0.7"))
    assert record.nat == out.PeerRecord.of(stack_session().peer, wall=T0, dialled=True).nat == "gateway"


def test_session_record_takes_over_what_the_stack_knows() -> None:
    record = session()
    assert (record.session, record.peer, record.user, record.computer, record.client) == (7, 3, "alice", "PC", "Windows")
    assert record.nat == "client"
    assert record.since == T0 + 11.0
    assert dict(record.rungs) == {"ike-auth": 0.25, "esp": 0.25, "network": 0.5}


def test_ladder_of_a_session_has_wall_clock_and_what_was_agreed() -> None:
    ladder = session().ladder
    assert [(p.number, p.rung, p.at, p.agreed) for p in ladder] == [
        (3, "ike-proposal", T0 + 10.0, "aes256-sha1-ecp384"),
        (4, "ike-auth", T0 + 10.25, "psk, 192.168.1.2, Windows (MS NT5 9)"),
        (5, "esp", T0 + 10.5, "aes256-sha1, in UDP"),
        (10, "network", T0 + 11.0, "10.99.0.1 with 10.99.0.7"),
    ]
    assert session().json()["ladder"][1] == {
        "rung": "ike-auth",
        "number": 4,
        "at": "2027-01-15T08:00:10.250Z",
        "seconds": 0.25,
        "agreed": "psk, 192.168.1.2, Windows (MS NT5 9)",
    }


def test_refusal_has_both_remedies_and_how_far_it_came() -> None:
    event = out.Refused(
        time=T0, remote=REMOTE, rung=Rung.ENCRYPTION, failure=Failure(Slug.ENCRYPTION_REFUSED, "seen"), ladder=session().ladder
    )
    body = event.json()
    assert [p["rung"] for p in body["ladder"]] == ["ike-proposal", "ike-auth", "esp", "network"]
    assert body["remedy"]
    assert body["remedy_client"]
    assert json.loads(json.dumps(body)) == body


def test_session_record_as_json() -> None:
    plain = session().json()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["outer"] == "203.0.113.9:4500"
    assert plain["inner"] == "10.99.0.7"
    assert plain["rungs"]["network"] == 0.5
    assert plain["since"] == "2027-01-15T08:00:11.000Z"


@pytest.mark.parametrize(
    ("event", "kind", "human"),
    [
        (
            out.Started(time=T0, version="1", listen=("0.0.0.0",), policy="compatible", cpu="avx2"),
            "started",
            "started headrace 1 on 0.0.0.0, policy compatible, kernels avx2",
        ),
        (out.Stopping(time=T0, reason="SIGTERM", sessions=1), "stopping", "stopping: SIGTERM; closing 1 session"),
        (
            out.PeerUp(time=T0, peer=peer()),
            "peer-up",
            (
                "peer-up 203.0.113.9:4500 (192.168.1.2): psk, ike aes256-sha1-ecp384, esp aes256-sha1, NAT before the client, "
                "Windows (MS NT5 9)"
            ),
        ),
        (
            out.PeerDown(time=T0 + 70, peer=peer(), failure=Failure(Slug.DPD_LOST)),
            "peer-down",
            "peer-down 203.0.113.9:4500: 829 dpd-lost; 1 m 00 s",
        ),
        (
            out.PeerMoved(time=T0, peer=peer(), before=Endpoint.of("203.0.113.9", 1024)),
            "peer-moved",
            "peer-moved 203.0.113.9:1024 to 203.0.113.9:4500",
        ),
        (
            out.SessionUp(time=T0, session=session()),
            "session-up",
            "session-up alice 10.99.0.7 from 203.0.113.9:4500: psk, mschap-v2, esp aes256-sha1, mppe none, mtu 1400, 1.00 s",
        ),
        (
            out.SessionDown(time=T0 + 3671, session=session(), failure=Failure(Slug.USER_REQUEST), by_peer=True),
            "session-down",
            "session-down alice 10.99.0.7 from 203.0.113.9:4500: user-request (by the client); 1 h 01 m, 1.5 kB in, 2.5 MB out",
        ),
        (
            out.Refused(time=T0, remote=REMOTE, rung=Rung.USER_AUTH, failure=Failure(Slug.AUTH_FAILED, "wrong"), user="alice"),
            "refused",
            (
                "refused 203.0.113.9 user alice: 691 auth-failed (user-auth): wrong; remedy: set a new password with "
                "`headrace account passwd NAME` if the user is sure of it"
            ),
        ),
        (out.Notice(time=T0, text="disk is full"), "notice", "disk is full"),
    ],
)
def test_every_event_has_one_human_line_and_one_json_form(event: out.Event, kind: str, human: str) -> None:
    assert event.human() == human
    assert "\n" not in human
    plain = event.json()
    assert json.loads(json.dumps(plain)) == plain
    assert (plain["event"], plain["time"][:4]) == (kind, "2027")


def test_failure_in_json_has_number_and_name() -> None:
    plain = out.SessionDown(time=T0, session=session(), failure=Failure(Slug.ADMIN, "by root"), by_peer=False).json()
    assert {k: plain[k] for k in ("slug", "ras", "name", "detail", "by_peer")} == {
        "slug": "admin",
        "ras": 629,
        "name": "REMOTE_DISCONNECTION",
        "detail": "by root",
        "by_peer": False,
    }
    assert plain["session"]["user"] == "alice"


@pytest.mark.parametrize(
    ("vendor", "computer", "kind"),
    [
        ("Windows (MS NT5 9)", "", "Windows"),
        ("", "MSRASV5.20", "Windows"),
        ("strongSwan", "", "strongSwan"),
        ("Apple racoon", "", "Apple"),
        ("", "", "unknown"),
    ],
)
def test_client_kind(vendor: str, computer: str, kind: str) -> None:
    assert client_kind(vendor, computer) == kind


def test_nat_verdict() -> None:
    assert [nat_verdict(nat_local=a, nat_remote=b) for a in (False, True) for b in (False, True)] == [
        "none",
        "client",
        "gateway",
        "both",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (5e9, "5.0 GB"),
        (7e12, "7.0 TB"),
        (7e16, "70000.0 TB"),
    ],
)
def test_octets(value: Any, text: str) -> None:
    assert octets(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(-1, "0 s"), (59.9, "59 s"), (61, "1 m 01 s"), (7260, "2 h 01 m"), (90_000, "1 d 01 h")],
)
def test_duration(value: float, text: str) -> None:
    assert duration(value) == text


def test_rungs_passed_in_another_order() -> None:
    assert rung_seconds({}) == {}
    assert rung_seconds({Rung.ESP: 2.0, Rung.IKE_AUTH: 1.0}) == {"esp": 1.0}
