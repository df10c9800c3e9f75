"""Conversations told as the ladder: calls that come up, calls that break, and silences."""

from __future__ import annotations

import pytest
from tests.inspect.kit import dissect, keys_of, ladder, pcap, real, records

from headrace.errors import Slug
from headrace.inspect.ladder import Conversation, describe
from headrace.model import Rung


def tell(name: str, last: int | None = None, *, keys: bool = True, drop: tuple[int, ...] = ()) -> Conversation:
    """The conversation of a real capture, cut behind a packet, without others."""
    packets = [data for number, data in enumerate(records(real(name)), 1) if number not in drop]
    (one,) = ladder(dissect(pcap(packets[:last]), keys_of(name) if keys else None))
    return one


def test_a_whole_call() -> None:
    one = tell("psk-natt")
    assert set(one.steps) == set(Rung) - {Rung.NAME}
    assert one.failure is None
    assert one.ended
    assert one.steps[Rung.IKE_PROPOSAL].agreed == "AES-256, SHA-256, MODP-2048 by pre-shared key"
    assert one.steps[Rung.ESP].agreed.startswith("AES-256, SHA-256, UDP-encapsulated transport mode")
    assert one.steps[Rung.USER_AUTH].agreed == "alice by mschap-v2"
    assert "10.99.0.10" in one.steps[Rung.NETWORK].agreed
    assert one.user == {True: 9, False: 9}
    times = [one.steps[rung].at for rung in sorted(one.steps)]
    assert times == sorted(times)
    text = describe(one)
    assert "the client sends main mode 1" in text
    assert "Came up and was ended in order" in text


def test_certificates_are_named() -> None:
    agreed = tell("cert").steps[Rung.IKE_AUTH].agreed
    assert "RSA signature" in agreed
    assert "CN=client.lab" in agreed
    assert "CN=server.lab" in agreed


def test_mppe_is_a_rung() -> None:
    one = tell("mppe128")
    assert one.steps[Rung.ENCRYPTION].agreed == "MPPE <mppe 128 stateless>"
    assert Rung.TRAFFIC in one.steps
    assert "18 more encrypted by MPPE" in describe(one, story=False)


def test_refused_encryption_is_told_with_number_and_packet() -> None:
    one = tell("mppe-refused")
    assert one.failure is not None
    assert one.failure.slug is Slug.ENCRYPTION_REFUSED
    assert one.failed_at == 39
    assert max(one.steps) is Rung.USER_AUTH
    assert "742 encryption-refused" in describe(one)
    body = one.json()
    assert body["failure"]["ras"] == 742
    assert body["failure"]["remedy_client"]
    assert [rung["rung"] for rung in body["rungs"]][:2] == ["path", "ike-proposal"]


def test_without_keys_it_says_where_sight_ends() -> None:
    one = tell("mppe-refused", keys=False)
    assert one.failure is None
    assert max(one.steps) is Rung.ESP
    assert "needs --keylog" in describe(one)


SILENCES = (
    # the last packet of the capture, what else is lost, the reason
    ("psk-natt", 1, (), Slug.IKE_NO_ANSWER),
    ("psk-natt", 2, (1,), Slug.IKE_TIMEOUT),
    ("psk-natt", 3, (), Slug.IKE_TIMEOUT),
    ("cert", 4, (), Slug.IKE_TIMEOUT),
    ("psk-natt", 4, (), Slug.SERVER_BEHIND_NAT),
    ("psk-natt", 5, (), Slug.PSK_MISMATCH),
    ("cert", 5, (), Slug.IKE_TIMEOUT),
    ("cert", 7, (), Slug.ESP_TIMEOUT),
    ("cert", 9, (), Slug.L2TP_SILENT),
    ("cert", 10, (), Slug.L2TP_SILENT),
    ("cert", 19, (), Slug.LCP_TIMEOUT),
    ("cert", 26, (), Slug.AUTH_TIMEOUT),
    ("cert", 32, (), Slug.IPCP_REFUSED),
)


@pytest.mark.parametrize(("name", "last", "drop", "slug"), SILENCES)
def test_silence_has_a_reason(name: str, last: int, drop: tuple[int, ...], slug: Slug) -> None:
    one = tell(name, last - len(drop), drop=drop)
    assert one.failure is not None
    assert one.failure.slug is slug
    assert str(slug) in describe(one)


def test_repetitions_are_counted() -> None:
    first = records(real("cert"))[0]
    (one,) = ladder(dissect(pcap([first] * 4)))
    assert one.failure is not None
    assert "sent main mode 1 4 times" in one.failure.detail
    assert [text for _, _, text in one.story].count("the client repeats main mode 1") == 3


def test_gateway_s_key_that_does_not_open_message_5_is_a_wrong_key() -> None:
    keys = keys_of("psk-natt")
    keys.ike = {cookie: bytes(32) for cookie in keys.ike}
    (one,) = ladder(dissect(pcap(records(real("psk-natt"))[:5]), keys))
    assert one.failure is not None
    assert one.failure.slug is Slug.PSK_MISMATCH
    assert "gateway's key" in one.failure.detail


def test_two_clients_are_two_conversations() -> None:
    scapy = pytest.importorskip("scapy.all")
    packets = records(real("cert"))[:9]
    others = []
    for data in records(real("psk-natt"))[:9]:
        frame = scapy.Ether(data)
        for place in ("src", "dst"):
            if getattr(frame["IP"], place) == "192.0.2.2":
                setattr(frame["IP"], place, "192.0.2.77")
        del frame["IP"].chksum
        others.append(bytes(frame))
    mixed = [packet for pair in zip(packets, others, strict=True) for packet in pair]
    found = ladder(dissect(pcap(mixed)))
    assert sorted(one.client for one in found) == ["192.0.2.2:500", "192.0.2.77:500"]
    assert all(Rung.ESP in one.steps for one in found)


def test_no_proposal_names_what_was_offered() -> None:
    from headrace.ike.constants import Exchange, NotifyType, PayloadType, ProtocolId
    from headrace.ike.message import Header, emit_message
    from headrace.ike.payloads import Notify

    scapy = pytest.importorskip("scapy.all")
    first = records(real("psk-natt"))[0]
    notify = Notify(NotifyType.NO_PROPOSAL_CHOSEN, ProtocolId.ISAKMP)
    header = Header(first[42:50], b"\x01" * 8, PayloadType.NOTIFY, Exchange.INFORMATIONAL)
    message = emit_message(header, [(PayloadType.NOTIFY, notify.emit())])
    answer = (
        scapy.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / scapy.IP(src="192.0.2.1", dst="192.0.2.2")
        / scapy.UDP(sport=500, dport=500)
        / scapy.Raw(message)
    )
    (one,) = ladder(dissect(pcap([first, bytes(answer)])))
    assert one.failure is not None
    assert one.failure.slug is Slug.IKE_NO_PROPOSAL
    assert "3DES, SHA-1, MODP-1024" in one.failure.detail


def test_closed_port_is_no_route() -> None:
    scapy = pytest.importorskip("scapy.all")
    first = records(real("psk-natt"))[0]
    unreachable = (
        scapy.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        / scapy.IP(src="192.0.2.1", dst="192.0.2.2")
        / scapy.ICMP(type=3, code=3)
        / scapy.Raw(first[14:42])
    )
    (one,) = ladder(dissect(pcap([first, bytes(unreachable)])))
    assert one.failure is not None
    assert one.failure.slug is Slug.NO_ROUTE
