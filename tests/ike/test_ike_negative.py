"""Bad input to IKE and what must come of it, by the numbers of the catalogue of negative cases."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from tests.ike.harness import CLIENT, SERVER, Pair, Verifier, authority, cert_config, config, der, machine, retell, seeded
from tests.ike.script import (
    HERE,
    THERE,
    Gateway,
    Script,
    clear,
    esp_sa,
    esp_transform,
    message_1,
    notify_of,
    phase1_sa,
    phase1_transform,
)

from headrace.errors import ConfigError, Slug
from headrace.esp.group import Group
from headrace.esp.proposal import TIERS as ESP_TIERS
from headrace.esp.proposal import EspProposal
from headrace.ike import events, groups, informational, vendor
from headrace.ike.attributes import Attribute
from headrace.ike.config import IkeConfig
from headrace.ike.constants import AuthMethod, Exchange, NotifyType, PayloadType
from headrace.ike.fragment import split
from headrace.ike.initiator import Initiator
from headrace.ike.limits import MAX_QUICK_MODES
from headrace.ike.main_mode import State
from headrace.ike.message import Header, emit_message
from headrace.ike.payloads import (
    Certificate,
    Delete,
    Fragment,
    Identification,
    Notify,
    Proposal,
    SecurityAssociation,
    Transform,
)
from headrace.ike.phase1_offer import read_all
from headrace.ike.proposal import TIERS as IKE_TIERS
from headrace.model import Cipher, Datagram, Endpoint

GOOD_SA = phase1_sa([(7, 256, 2, 14)])
GOOD = message_1(GOOD_SA.emit())
ECP_SA = phase1_sa([(7, 256, 2, 19)])


def silent(gateway: Gateway, data: bytes, reason: str) -> None:
    before = len(gateway.events)
    assert gateway.hear(data) == []
    assert [getattr(event, "reason", event) for event in gateway.events[before:]] == [reason]
    assert gateway.ike.stats().half_open == 0


def works(gateway: Gateway) -> None:
    """A good message that follows still works."""
    (answer,) = gateway.hear(GOOD, now=500.0)
    assert clear(answer)[0].exchange == Exchange.MAIN


def half_open(
    gateway: Gateway, sa: SecurityAssociation = GOOD_SA, cookie: bytes = b"initiate", now: float = 1.0
) -> tuple[bytes, bytes]:
    (answer,) = gateway.hear(message_1(sa.emit(), [vendor.RFC_3947], cookie=cookie), now=now)
    return clear(answer)[0].cookies


def message_3(
    cookies: tuple[bytes, bytes], public: bytes, nonce: bytes = b"n" * 32, extra: list[tuple[int, bytes]] | None = None
) -> bytes:
    body = [(PayloadType.KEY_EXCHANGE, public), (PayloadType.NONCE, nonce), *(extra or [])]
    return emit_message(Header(*cookies, 0, Exchange.MAIN), body)


def public_of(group: Group) -> bytes:
    return groups.begin(group, seeded(5)).public


def test_n001_short_datagrams() -> None:
    gateway = Gateway()
    for length in (0, 1, 3, 4, 27):
        silent(gateway, GOOD[:length], "ike_short")
    works(gateway)


def test_n002_length_field() -> None:
    gateway = Gateway()
    for length in (0, 27, len(GOOD) - 1, len(GOOD) + 1, 2**32 - 1):
        silent(gateway, GOOD[:24] + length.to_bytes(4, "big") + GOOD[28:], "ike_length")
    works(gateway)


def test_n003_versions() -> None:
    gateway = Gateway()
    for major in (0, 3, 15):
        silent(gateway, GOOD[:17] + bytes([major << 4]) + GOOD[18:], "ike_version")
    ikev2 = bytearray(GOOD)
    ikev2[17:19] = bytes([0x20, 34])
    (answer,) = gateway.hear(bytes(ikev2))
    assert notify_of(answer) is NotifyType.INVALID_MAJOR_VERSION
    assert gateway.hear(bytes(ikev2)) == [], "once a second"
    assert len(gateway.hear(bytes(ikev2), now=3.0)) == 1
    assert set(gateway.slugs()) == {Slug.IKE_VERSION}
    works(gateway)


def test_n004_exchange_types() -> None:
    gateway = Gateway()
    for exchange in (0, 1, 3, 6, 31, 33, 34, *range(240, 256)):
        silent(gateway, GOOD[:18] + bytes([exchange]) + GOOD[19:], "ike_exchange")
    works(gateway)


def test_n005_zero_initiator_cookie() -> None:
    silent(Gateway(), bytes(8) + GOOD[8:], "ike_cookie")


def test_n006_unknown_responder_cookie() -> None:
    gateway = Gateway()
    silent(gateway, GOOD[:8] + b"nobody's" + GOOD[16:], "ike_cookie")
    silent(gateway, GOOD[:18] + bytes([32]) + GOOD[19:], "ike_cookie")


def test_n007_reserved_flags() -> None:
    pair = Pair(tap=lambda _now, _right, d: retell(d, d.data[:19] + bytes([d.data[19] | 0xF8]) + d.data[20:]))
    pair.connect()
    pair = Pair(tap=lambda _now, right, d: retell(d, d.data[:19] + bytes([d.data[19] | 0xF8]) + d.data[20:]) if right else d)
    pair.connect()
    assert all(not d.data[19] & 0xF8 for _, right, d in pair.wire if not right), "never echoed"


@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_n008_payload_length_below_the_header(length: int) -> None:
    gateway = Gateway()
    bad = GOOD[:30] + length.to_bytes(2, "big") + GOOD[32:]
    (answer,) = gateway.hear(bad)
    assert notify_of(answer) is NotifyType.PAYLOAD_MALFORMED
    assert len(answer) <= 2 * len(bad)
    assert gateway.hear(bad) == []
    assert gateway.drops() == ["ike_malformed"] * 2
    cookies = half_open(gateway)
    third = message_3(cookies, public_of(Group.MODP2048))
    (answer,) = gateway.hear(third[:30] + length.to_bytes(2, "big") + third[32:], now=5.0)
    assert notify_of(answer) is NotifyType.PAYLOAD_MALFORMED
    assert clear(gateway.hear(third, now=6.0)[0])[0].exchange == Exchange.MAIN, "the exchange stayed where it was"


@pytest.mark.parametrize("excess", [1, 65_000])
def test_n009_payload_length_past_the_end(excess: int) -> None:
    gateway = Gateway()
    length = min(int.from_bytes(GOOD[30:32], "big") + excess, 0xFFFF)
    (answer,) = gateway.hear(GOOD[:30] + length.to_bytes(2, "big") + GOOD[32:])
    assert notify_of(answer) is NotifyType.PAYLOAD_MALFORMED
    works(gateway)


def test_n010_endless_chain() -> None:
    gateway = Gateway()
    data = emit_message(Header(b"initiate", bytes(8), 0, Exchange.MAIN), [(PayloadType.VENDOR_ID, b"")] * 10_000)
    begin = time.process_time()
    gateway.hear(data)
    assert time.process_time() - begin < 0.05
    assert gateway.drops() == ["ike_too_many_payloads"]
    works(gateway)


def test_n011_private_payloads_are_skipped() -> None:
    gateway = Gateway()
    extra = [(kind, b"private") for kind in (128, 129, 133, 200, 255)]
    (answer,) = gateway.hear(message_1(GOOD_SA.emit(), extra=extra))
    assert clear(answer)[0].exchange == Exchange.MAIN


@pytest.mark.parametrize("doi", [0, 2, 0x80000001])
def test_n012_other_domain_of_interpretation(doi: int) -> None:
    gateway = Gateway()
    (answer,) = gateway.hear(message_1(doi.to_bytes(4, "big") + GOOD_SA.emit()[4:]))
    assert notify_of(answer) is NotifyType.DOI_NOT_SUPPORTED
    assert gateway.ike.stats().half_open == 0 and len(gateway.events) == 1


@pytest.mark.parametrize("situation", [2, 3, 5])
def test_n013_labelled_situations(situation: int) -> None:
    gateway = Gateway()
    (answer,) = gateway.hear(message_1(GOOD_SA.emit()[:4] + situation.to_bytes(4, "big") + GOOD_SA.emit()[8:]))
    assert notify_of(answer) is NotifyType.SITUATION_NOT_SUPPORTED


@pytest.mark.parametrize("change", [lambda b: b[:8], lambda b: b[:15] + b"\0" + b[16:], lambda b: b[:15] + b"\2" + b[16:]])
def test_n014_proposals_that_do_not_add_up(change: Any) -> None:
    gateway = Gateway()
    (answer,) = gateway.hear(message_1(change(GOOD_SA.emit())))
    assert notify_of(answer) is NotifyType.BAD_PROPOSAL_SYNTAX
    works(gateway)
    script = Script()
    (note,) = script.notes_of(script.ask(script.payloads(change(esp_sa(esp_transform(), spi=b"").emit()))))
    assert note.type == NotifyType.BAD_PROPOSAL_SYNTAX


def test_n015_transforms_that_cannot_be_used() -> None:
    good = phase1_transform(9, 7, 256, 2, 14)
    bad = [phase1_transform(1, 7, bits, 2, 14) for bits in (0, 1, 127, 129, 65_535)]
    bad += [Transform(2, 1, good.body + b"\x00\x0c\x00\x40"), Transform(3, 1, good.body[:-1]), Transform(4, 7, good.body)]
    bad += [Transform(5, 1, good.body + b"\x80\x01\x00\x07"), Transform(6, 1, good.body + b"\x80\x0d\x00\x01")]
    gateway = Gateway()
    (answer,) = gateway.hear(message_1(SecurityAssociation((Proposal(1, 1, b"", (*bad, good)),)).emit()))
    (chosen,) = read_all(clear(answer)[1].one(PayloadType.SA, SecurityAssociation))
    assert chosen.transform == good
    gateway = Gateway()
    (answer,) = gateway.hear(message_1(SecurityAssociation((Proposal(1, 1, b"", tuple(bad)),)).emit()))
    assert notify_of(answer) is NotifyType.NO_PROPOSAL_CHOSEN
    assert "AES without a key length" in gateway.failures()[0].detail


@pytest.mark.parametrize("seconds", [0, 1, 2**32 - 1, "eight", "untyped"])
def test_n016_lives(seconds: Any) -> None:
    body = phase1_transform(1, 7, 256, 2, 14).body[:-12]
    if seconds == "eight":
        life = b"\x80\x0b\x00\x01\x00\x0c\x00\x08" + b"\xff" * 8
    elif seconds == "untyped":
        life = b"\x80\x0c\x00\x05"
    else:
        life = b"\x80\x0b\x00\x01\x00\x0c\x00\x04" + seconds.to_bytes(4, "big")
    sa = SecurityAssociation((Proposal(1, 1, b"", (Transform(1, 1, body + life),)),))
    gateway = Gateway()
    cookies = half_open(gateway, sa)
    (negotiation,) = gateway.ike._half_open.values()
    assert negotiation.cookies == cookies
    assert 120 <= negotiation._chosen.offer.seconds <= 7 * 86400
    esp_life = (
        {"seconds": None, "more": (Attribute.of(2, 5),)}
        if seconds == "untyped"
        else {"seconds": 2**32 - 1 if seconds == "eight" else seconds}
    )
    script = Script()
    opened = script.answer_of(script.ask(script.payloads(esp_sa(esp_transform(kilobytes=0, **esp_life)))))
    script.finish(opened)
    up = script.server.last(events.ChildUp)
    assert 60 <= up.lifetime < 3961
    (child,) = script.server_peer.children
    assert script.pair.now + 50 < child.rekey_at < child.expires_at
    assert child.plan.hard_bytes == 0


def test_n017_weak_transforms() -> None:
    gateway = Gateway(replace(config(), proposals=IKE_TIERS["compatible"], esp_proposals=ESP_TIERS["compatible"]))
    (answer,) = gateway.hear(message_1(phase1_sa([(1, 0, 2, 14), (7, 256, 1, 14), (7, 256, 2, 1), (7, 256, 2, 2)]).emit()))
    assert notify_of(answer) is NotifyType.NO_PROPOSAL_CHOSEN
    (failure,) = gateway.failures()
    assert failure.slug is Slug.IKE_NO_PROPOSAL
    for word in (
        "DES, SHA-1, MODP-2048",
        "AES-256, MD5, MODP-2048",
        "MODP-768",
        "AES-256, SHA-1, MODP-1024",
        "nearest",
        "allowed are",
    ):
        assert word in failure.detail


@pytest.mark.parametrize("change", ["other", "two", "none"])
def test_n018_answer_with_what_was_not_offered(change: Any) -> Any:
    def tap(_now: float, right: bool, d: Datagram) -> Datagram | None:
        if not right:
            header, chain = clear(d.data)
            (proposal,) = chain.one(PayloadType.SA, SecurityAssociation).proposals
            wrong = {
                "other": phase1_sa([(7, 256, 4, 14)]),
                "two": SecurityAssociation((replace(proposal, transforms=proposal.transforms * 2),)),
                "none": SecurityAssociation((replace(proposal, transforms=(Transform(1, 1, b""),)),)),
            }[change]
            return retell(d, emit_message(header, [(PayloadType.SA, wrong.emit())]))
        return d

    pair = Pair(tap=tap)
    pair.dial()
    pair.run(10)
    assert pair.client.slugs() == [Slug.IKE_NO_PROPOSAL]
    assert len([d for _, right, d in pair.wire if right]) == 1, "nothing sent"


@pytest.mark.parametrize("group", [g for g in Group if g.keyword.startswith("modp")])
def test_n019_public_values_at_the_edge(group: Group) -> None:
    sa = phase1_sa([(7, 256, 2, group)])
    gateway = Gateway(config(f"aes256-sha1-{group.keyword}"))
    cookies = half_open(gateway, sa)
    p, size = groups.prime(group), groups.public_octets(group)
    now = 10.0
    for value in (0, 1, p - 1, p, p + 1, (1 << 8 * size) - 1):
        now += 2
        (answer,) = gateway.hear(message_3(cookies, value.to_bytes(size, "big")), now=now)
        assert notify_of(answer) is NotifyType.INVALID_KEY_INFORMATION
    assert set(gateway.drops()) == {"ike_key_exchange"}
    (negotiation,) = gateway.ike._half_open.values()
    assert negotiation.state is State.WAIT_3 and negotiation.channel is None
    (answer,) = gateway.hear(message_3(cookies, public_of(group)), now=now + 1)
    assert clear(answer)[0].exchange == Exchange.MAIN


def test_n020_key_exchange_of_the_wrong_length() -> None:
    gateway = Gateway()
    cookies = half_open(gateway)
    good = public_of(Group.MODP2048)
    cases = [
        message_3(cookies, good[1:]),
        message_3(cookies, good + b"\0"),
        message_3(cookies, good, extra=[(PayloadType.KEY_EXCHANGE, good)]),
        emit_message(Header(*cookies, 0, Exchange.MAIN), [(PayloadType.NONCE, b"n" * 32)]),
    ]
    for number, data in enumerate(cases):
        (answer,) = gateway.hear(data, now=10.0 + 2 * number)
        assert notify_of(answer) is NotifyType.PAYLOAD_MALFORMED
    gateway.ike.tick(100.0)
    assert gateway.ike.stats().half_open == 0
    assert gateway.last(events.Refused).failure.slug is Slug.IKE_KEY_EXCHANGE


def test_n021_points_that_are_none() -> None:
    gateway = Gateway(config("aes256-sha1-ecp256"))
    cookies = half_open(gateway, ECP_SA)
    good = public_of(Group.ECP256)
    cases = [
        good[:-1] + bytes([good[-1] ^ 1]),
        bytes(64),
        b"\x02" + good[:32],
        b"\x04" + good,
        public_of(Group.ECP384),
        b"\xff" * 64,
    ]
    for number, public in enumerate(cases):
        (answer,) = gateway.hear(message_3(cookies, public), now=10.0 + 2 * number)
        assert notify_of(answer) is NotifyType.INVALID_KEY_INFORMATION
    (answer,) = gateway.hear(message_3(cookies, good), now=30.0)
    assert clear(answer)[0].exchange == Exchange.MAIN


def test_n022_nonces() -> None:
    for length, good in ((0, False), (7, False), (257, False), (8, True), (256, True)):
        gateway = Gateway()
        cookies = half_open(gateway)
        (answer,) = gateway.hear(message_3(cookies, public_of(Group.MODP2048), b"n" * length), now=5.0)
        if good:
            assert clear(answer)[0].exchange == Exchange.MAIN
        else:
            assert notify_of(answer) is NotifyType.PAYLOAD_MALFORMED


class FifthMessage:
    """A negotiation whose message 5 is held back."""

    def __init__(self, client: IkeConfig | None = None, server: IkeConfig | None = None) -> None:
        self.held: list[Datagram] = []
        self.pair = Pair(client, server, tap=self._tap)
        self.pair.dial()
        self.pair.run(0.5)
        assert self.held

    def _tap(self, _now: float, right: bool, d: Datagram) -> Datagram | None:
        if right and d.data[18] == 2 and d.data[19] & 1:
            self.held.append(d)
            return None
        return d

    def say(self, data: bytes) -> list[bytes]:
        d = self.pair._arrive(self.held[0])
        assert d is not None
        self.pair.server.ike.receive(Datagram(d.local, d.remote, data), self.pair.now)
        return [datagram.data for datagram in self.pair.server.drain()]

    def release(self) -> None:
        assert self.say(self.held[0].data)
        assert self.pair.server.all(events.PeerUp)


def test_n023_message_5_in_clear() -> None:
    fifth = FifthMessage()
    data = fifth.held[0].data
    assert fifth.say(data[:19] + b"\0" + data[20:]) == []
    assert fifth.pair.server.drops() == ["ike_clear"]
    assert fifth.pair.server.ike.stats().half_open == 1
    fifth.release()


def relength(data: bytes) -> bytes:
    return data[:24] + len(data).to_bytes(4, "big") + data[28:]


def test_n024_message_5_of_odd_length() -> None:
    fifth = FifthMessage()
    data = fifth.held[0].data
    for wrong in (data[:-1], data + b"x", data[:28], data[:29]):
        assert fifth.say(relength(wrong)) == []
    assert set(fifth.pair.server.drops()) == {"ike_decrypt"}
    fifth.release()


def test_n025_ten_thousand_random_message_5() -> None:
    fifth = FifthMessage()
    data, dice = fifth.held[0].data, seeded(3)
    (negotiation,) = fifth.pair.server.ike._half_open.values()
    for _ in range(10_000):
        assert fifth.say(data[:28] + dice(len(data) - 28)) == []
    assert negotiation.state is State.WAIT_5
    assert set(fifth.pair.server.drops()) == {"ike_decrypt"}
    assert not fifth.pair.server.failures()
    fifth.release()


def test_n026_wrong_pre_shared_key() -> None:
    fifth = FifthMessage(client=config(psk=b"one"), server=config(psk=b"two"))
    data = fifth.held[0].data
    assert fifth.say(data) == [] and not fifth.pair.server.failures()
    assert fifth.say(data) == []
    (failure,) = fifth.pair.server.failures()
    assert failure.slug is Slug.PSK_MISMATCH
    assert b"one".hex() not in str(failure) and "one" not in failure.detail.split()
    fifth.say(data)
    fifth.pair.server.ike.tick(fifth.pair.now + 60)
    assert len(fifth.pair.server.failures()) == 1, "once"
    assert fifth.pair.server.ike.stats().half_open == 0


def test_n027_right_key_wrong_hash() -> None:
    fifth = FifthMessage()
    pending = fifth.pair.client.ike._peers[fifth.pair.handle].pending
    assert pending is not None and pending.channel is not None
    channel = pending.channel
    identity = Identification.of_address(CLIENT).emit()
    wrong = bytearray(20)
    forged = channel.seal(
        Exchange.MAIN, 0, channel.keys.first_iv, [(PayloadType.IDENTIFICATION, identity), (PayloadType.HASH, bytes(wrong))]
    )
    (answer,) = fifth.say(forged)
    header = Header.parse(answer)
    assert header.exchange == Exchange.INFORMATIONAL and header.encrypted
    channel.last_block = forged[-16:]
    from headrace.ike.context import Received

    opened = channel.open_hashed(Received(header, answer, HERE, THERE), channel.iv(header.message_id))
    assert [note.type for note in opened.chain.all(PayloadType.NOTIFY, Notify)] == [NotifyType.AUTHENTICATION_FAILED]
    assert fifth.pair.server.ike.stats().half_open == 0
    assert fifth.pair.server.slugs() == [Slug.PSK_MISMATCH]
    assert fifth.say(forged) == []
    assert fifth.pair.server.drops() == ["ike_cookie"]


IDENTITIES = [
    (0, b"", False),
    (12, b"x", False),
    (255, b"x", False),
    (1, b"123", False),
    (1, b"12345", False),
    (2, b"", False),
    (2, b"x" * 65_000, False),
    (9, b"not DER", False),
    (9, b"\x30\x05abc", False),
    (4, b"12345678", False),
    (1, b"1234", True),
    (5, b"1" * 16, True),
    (9, b"\x30\x03abc", True),
    (2, b"name", True),
]


@pytest.mark.parametrize(("kind", "data", "good"), IDENTITIES, ids=[f"{k}-{len(d)}" for k, d, _ in IDENTITIES])
def test_n028_identities(kind: Any, data: bytes, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.ike.auth_psk import PskAuthenticator

    monkeypatch.setattr(PskAuthenticator, "identity", lambda self: Identification(kind, 0, 0, data))
    pair = Pair(config(fragmentation=False), config())
    pair.dial()
    with pair.sim:
        pair.sim.run_until(lambda: bool(pair.server.all(events.PeerUp) or pair.server.failures()), limit=20)
    if good:
        assert not pair.server.failures()
    else:
        assert pair.server.slugs() == [Slug.IKE_ID]
        assert not pair.server.all(events.PeerUp)
        pair.run(1)
        assert pair.client.slugs()[0] is Slug.IKE_ID


def test_n029_identity_with_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.ike.auth_psk import PskAuthenticator

    evil = "a\0b\nc\x1bd\u202ee".encode()
    monkeypatch.setattr(PskAuthenticator, "identity", lambda self: Identification(2, 0, 0, evil))
    pair = Pair().connect()
    shown = pair.server.last(events.PeerUp).remote_id
    assert shown == "a\\x00b\\nc\\x1bd\\u202ee" and shown.isprintable()


def test_n030_aggressive_mode() -> None:
    gateway = Gateway()
    aggressive = GOOD[:18] + b"\4" + GOOD[19:]
    (answer,) = gateway.hear(aggressive)
    assert notify_of(answer) is NotifyType.INVALID_EXCHANGE_TYPE
    assert gateway.hear(aggressive) == []
    assert set(gateway.slugs()) == {Slug.IKE_AGGRESSIVE}
    assert gateway.ike.stats().half_open == 0


def test_n031_phase_2_before_phase_1() -> None:
    fifth = FifthMessage()
    cookies = fifth.held[0].data[:16]
    for exchange in (32, 5, 6):
        data = cookies + fifth.held[0].data[16:18] + bytes([exchange]) + fifth.held[0].data[19:]
        assert fifth.say(data) == []
    assert set(fifth.pair.server.drops()) == {"ike_exchange"}
    fifth.release()
    script = Script()
    mode_cfg = script.channel.seal_hashed(Exchange.TRANSACTION, 5, script.channel.iv(5), [(PayloadType.ATTRIBUTE, b"\1\0\0\0")])
    assert script.say(mode_cfg) == []
    assert script.server.drops() == ["ike_exchange"]


def test_n032_quick_mode_without_message_id() -> None:
    script = Script()
    assert script.ask(script.payloads(esp_sa(esp_transform())), message_id=0) == []
    assert script.server.drops() == ["ike_message_id"]
    assert script.inform([(PayloadType.NOTIFY, Notify(NotifyType.INITIAL_CONTACT, 1).emit())], message_id=0) == []


def test_n033_quick_mode_with_bad_hash() -> None:
    script = Script()
    payloads = script.payloads(esp_sa(esp_transform()))
    iv = script.channel.iv(1)
    for bad in (
        [(PayloadType.HASH, bytes(20)), *payloads],
        [(PayloadType.HASH, b""), *payloads],
        payloads,
        [*payloads, (PayloadType.HASH, bytes(20))],
    ):
        assert script.say(script.channel.seal(Exchange.QUICK, 1, iv, bad)) == []
    assert set(script.server.drops()) == {"ike_hash"}
    assert not script.server.data.inbound
    script.answer_of(script.ask(payloads))


def test_n034_quick_mode_replayed() -> None:
    script = Script()
    opened = script.answer_of(script.ask(script.payloads(esp_sa(esp_transform()))))
    script.finish(opened)
    assert script.say(script.first) == [], "the exchange is over"
    installed = len(script.server.all(events.InstallSa))
    script.inform(informational.delete_children([0x11223344]), 9)
    script.server.ike.tick(script.pair.now + 65)
    assert not script.server_peer.ikes[0].quick
    assert script.say(script.first) == []
    assert script.server.drops()[-1] == "ike_replay"
    assert len(script.server.all(events.InstallSa)) == installed


def test_n035_quick_mode_repeated_a_hundred_times() -> None:
    script = Script()
    (answer,) = script.ask(script.payloads(esp_sa(esp_transform())))
    answers = []
    for number in range(100):
        script.server.ike.receive(Datagram(THERE, HERE, script.first), script.pair.now + number * 0.0201)
        answers += [datagram.data for datagram in script.server.drain()]
    assert set(answers) == {answer} and 1 <= len(answers) <= 2, "one a second"
    assert len(script.server.data.inbound) == 1


def test_n036_message_3_is_lost() -> Any:
    lost: list[Datagram] = []

    def tap(_now: float, right: bool, d: Datagram) -> Datagram | None:
        if right and d.data[18] == 32 and len(lost) < 2 and len(d.data) < 100:
            lost.append(d)
            return None
        return d

    pair = Pair(tap=tap)
    pair.dial()
    with pair.sim:
        pair.sim.run_until(lambda: bool(pair.client.all(events.ChildUp)), limit=5)
    begin = pair.now
    with pair.sim:
        pair.sim.run_until(pair.up, limit=10)
    assert lost and pair.now - begin < 10
    pair.traffic()
    other = Pair(tap=lambda _now, right, d: None if right and d.data[18] == 32 and len(d.data) < 100 else d)
    other.dial()
    other.run(0.5)
    peer = other.server_peer()
    assert len(other.server.data.inbound) == 1 and not other.server.all(events.ChildUp)
    other.server.ike.esp_activity(peer, other.now)
    assert other.server.all(events.ChildUp), "ESP under the new SPI proves that the client has message 2"
    other.traffic()


def test_n037_tunnel_mode_and_other_protocols() -> None:
    script = Script()
    detail = script.refused(script.payloads(esp_sa(esp_transform(mode=1))), NotifyType.NO_PROPOSAL_CHOSEN, Slug.ESP_NO_PROPOSAL)
    assert "tunnel mode is not allowed" in detail
    detail = script.refused(
        script.payloads(esp_sa(esp_transform(), protocol=2)), NotifyType.NO_PROPOSAL_CHOSEN, Slug.ESP_NO_PROPOSAL, 2
    )
    assert "AH" in detail
    detail = script.refused(
        script.payloads(esp_sa(esp_transform(), protocol=4)), NotifyType.NO_PROPOSAL_CHOSEN, Slug.ESP_NO_PROPOSAL, 3
    )
    assert "IPCOMP" in detail
    bundle = SecurityAssociation(tuple(Proposal(1, p, b"\1\2\3\4", (esp_transform(),)) for p in (3, 2)))
    script.refused(script.payloads(bundle), NotifyType.NO_PROPOSAL_CHOSEN, Slug.ESP_NO_PROPOSAL, 4)
    script.refused(script.payloads(esp_sa(esp_transform(mode=4))), NotifyType.NO_PROPOSAL_CHOSEN, Slug.ESP_NO_PROPOSAL, 5)
    script.refused(script.payloads(esp_sa(esp_transform(mode=None))), NotifyType.NO_PROPOSAL_CHOSEN, Slug.ESP_NO_PROPOSAL, 6)


def test_n038_no_encryption_or_no_authentication() -> None:
    for name, tier in ESP_TIERS.items():
        assert all(item.cipher is not Cipher.NULL for item in tier), name
        script = Script(server=replace(config(dpd_delay=0.0), esp_proposals=tier))
        for number, transform in enumerate((esp_transform(1, 11, bits=None), esp_transform(1, 12, auth=None)), 1):
            script.refused(script.payloads(esp_sa(transform)), NotifyType.NO_PROPOSAL_CHOSEN, Slug.ESP_NO_PROPOSAL, number)
    for typo in ("aes256", "null", "aes128-", "aes256-none", "3des"):
        with pytest.raises(ConfigError):
            EspProposal.parse(typo)


@pytest.mark.parametrize(
    "transform",
    [
        esp_transform(1, 23, bits=128),
        esp_transform(1, 13, bits=128),
        esp_transform(1, 12, bits=None),
        esp_transform(1, 20, bits=None, auth=None),
        esp_transform(1, 7, bits=128),
    ],
)
def test_n039_ciphers_that_are_not_served(transform: Transform) -> None:
    script = Script(server=replace(config(dpd_delay=0.0), esp_proposals=ESP_TIERS["legacy"]))
    script.refused(script.payloads(esp_sa(transform)), NotifyType.NO_PROPOSAL_CHOSEN, Slug.ESP_NO_PROPOSAL)


def test_n040_selectors() -> Any:
    script = Script()
    good = script.identities()

    def one(kind: int, data: bytes, protocol: int = 17, port: int = 1701) -> tuple[int, bytes]:
        return PayloadType.IDENTIFICATION, Identification(kind, protocol, port, data).emit()

    wrong = [
        good[:1],
        [good[0], one(2, b"gateway.example")],
        [one(2, b"client.example"), good[1]],
        script.identities(protocol=6),
        script.identities(protocol=0),
        script.identities(server_port=1702),
        script.identities(server_port=0),
        [good[0], one(4, bytes(8))],
        [one(4, bytes(8)), good[1]],
        [one(7, b"\1\1\1\1\1\1\1\2"), good[1]],
        [one(1, b"123"), good[1]],
    ]
    for number, ids in enumerate(wrong, 1):
        script.refused(
            script.payloads(esp_sa(esp_transform()), ids=ids), NotifyType.INVALID_ID_INFORMATION, Slug.ESP_SELECTOR, number
        )
    host = [one(4, b"\1\1\1\1\xff\xff\xff\xff"), one(7, b"\2\2\2\2\2\2\2\2")]
    script.answer_of(script.ask(script.payloads(esp_sa(esp_transform()), ids=host), 99))


@pytest.mark.parametrize("spi", [b"\0\0\0\0", b"\0\0\0\1", b"\0\0\0\xff", b"\1\2\3", b"\1\2\3\4\5", b""])
def test_n041_spis(spi: bytes) -> None:
    script = Script()
    script.refused(script.payloads(esp_sa(esp_transform(), spi=spi)), NotifyType.INVALID_SPI, Slug.ESP_NO_PROPOSAL)
    script.answer_of(script.ask(script.payloads(esp_sa(esp_transform())), 2))
    (note,) = script.notes_of(script.ask(script.payloads(esp_sa(esp_transform())), 3))
    assert note.type == NotifyType.INVALID_SPI
    assert len(script.server.data.inbound) == 1


def test_n042_random_generator_repeats_an_spi() -> Any:
    asked = []

    def free(spi: int) -> bool:
        asked.append(spi)
        return spi != 0x55555555

    from headrace.ike.context import Context

    draws = iter([b"\0\0\0\7", b"\x55" * 4, b"\x66" * 4, b"\x66" * 4, b"\x77" * 4])
    ctx = Context(config(), lambda _n: next(draws), free, 500, 4500, 4500)
    assert [ctx.spi(), ctx.spi()] == [0x66666666, 0x77777777]
    assert asked == [0x55555555, 0x66666666, 0x77777777]
    ctx.release(0x66666666)
    assert ctx.spis == {0x77777777}


def test_n043_forward_secrecy_that_does_not_fit() -> None:
    script = Script(server=config("aes256-sha1-modp2048,aes256-sha1-ecp256", dpd_delay=0.0))
    public = [(PayloadType.KEY_EXCHANGE, public_of(Group.MODP2048))]
    plain, with_group = esp_sa(esp_transform()), esp_sa(esp_transform(group=14))
    script.refused(script.payloads(plain, extra=public), NotifyType.INVALID_KEY_INFORMATION, Slug.ESP_NO_PROPOSAL, 1)
    script.refused(script.payloads(with_group), NotifyType.INVALID_KEY_INFORMATION, Slug.ESP_NO_PROPOSAL, 2)
    other = esp_sa(esp_transform(group=2))
    detail = script.refused(
        script.payloads(other, extra=[(PayloadType.KEY_EXCHANGE, public_of(Group.MODP1024))]),
        NotifyType.NO_PROPOSAL_CHOSEN,
        Slug.ESP_NO_PROPOSAL,
        3,
    )
    assert "MODP-1024" in detail
    wrong = [(PayloadType.KEY_EXCHANGE, public_of(Group.ECP256))]
    script.refused(script.payloads(with_group, extra=wrong), NotifyType.INVALID_KEY_INFORMATION, Slug.IKE_KEY_EXCHANGE, 4)
    script.answer_of(script.ask(script.payloads(with_group, extra=public), 5))


def up() -> Script:
    script = Script()
    script.finish(script.answer_of(script.ask(script.payloads(esp_sa(esp_transform())))))
    assert len(script.server.data.inbound) == 1
    return script


def alive(script: Script) -> None:
    assert script.server.ike.stats() == type(script.server.ike.stats())(1, 0, 1)
    assert len(script.server_peer.ikes) == 1


def test_n044_delete_in_clear() -> None:
    script = up()
    for payloads in (informational.delete_phase1(script.channel), informational.delete_children([0x11223344])):
        data = emit_message(Header(*script.phase1.cookies, 0, Exchange.INFORMATIONAL, 0, 77), payloads)
        assert script.say(data) == []
    assert script.server.drops() == ["ike_unauth_info"] * 2
    alive(script)


def test_n045_delete_with_wrong_hash() -> None:
    script = up()
    payloads = [(PayloadType.HASH, bytes(20)), *informational.delete_phase1(script.channel)]
    assert script.say(script.channel.seal(Exchange.INFORMATIONAL, 7, script.channel.iv(7), payloads)) == []
    assert script.server.drops() == ["ike_hash"]
    alive(script)


def test_n046_after_a_delete_nothing_counts() -> None:
    script = up()
    note = (PayloadType.NOTIFY, Notify(NotifyType.R_U_THERE, 1, script.channel.cookies, b"\0\0\0\1").emit())
    assert script.inform([*informational.delete_phase1(script.channel), note], 5) == []
    assert not script.server_peer.ikes and script.server.ike.stats().children == 1
    script = up()
    delete = informational.delete_children([0x11223344])
    script.inform(delete, 5)
    assert script.inform(delete, 6) == []
    assert script.server.drops() == ["ike_delete"]
    assert script.say(script.channel.informational(5, delete)) == []
    assert script.server.drops()[-1] == "ike_replay"


def test_n047_deletes_that_do_not_add_up() -> None:
    script = up()
    spi = (0x11223344).to_bytes(4, "big")
    head = b"\0\0\0\1\3"
    bad = [
        head + b"\4\xff\xff" + spi,
        head + b"\4\0\2" + spi,
        head + b"\4\0\1" + spi + spi,
        head + b"\0\0\1" + spi,
        head + b"\x08\0\1" + spi + spi,
        head + b"\x10\0\1" + spi * 4,
        b"\0\0\0\1\1\4\0\1" + spi,
        b"\0\0\0\1\1\x08\0\2" + script.channel.cookies,
    ]
    for number, body in enumerate(bad, 10):
        assert script.inform([(PayloadType.DELETE, body), *informational.delete_children([0x11223344])], number) == []
    assert set(script.server.drops()) <= {"ike_malformed", "ike_delete"}
    assert len(script.server.drops()) == len(bad)
    alive(script)
    many = Delete(3, 4, (*(i.to_bytes(4, "big") for i in range(16_000)), spi))
    script.inform([(PayloadType.DELETE, many.emit())], 30)
    assert script.server.ike.stats().children == 0 and script.server.drops()[-1] == "ike_delete"


def test_delete_that_names_our_inbound_spi() -> None:
    """strongSwan does so when its kernel did not take the SA."""
    script = up()
    (ours,) = script.server.data.inbound
    assert script.inform(informational.delete_children([ours]), 5) == []
    assert not script.server.data.inbound and not script.server.drops()


def test_refusal_of_message_2() -> None:
    for name in ("theirs", "ours", "none"):
        script = Script()
        script.ask(script.payloads(esp_sa(esp_transform())))
        (ours,) = script.server.data.inbound
        spi = {"theirs": b"\x11\x22\x33\x44", "ours": ours.to_bytes(4, "big"), "none": b""}[name]
        script.inform(informational.refuse(NotifyType.NO_PROPOSAL_CHOSEN, spi), 9)
        assert not script.server.data.inbound
        assert script.server.slugs() == [Slug.ESP_NO_PROPOSAL]
        assert script.server.ike.stats().peers == 1
        script.answer_of(script.ask(script.payloads(esp_sa(esp_transform())), 2))


def test_answer_under_other_keys_tells_of_the_wrong_pre_shared_key() -> None:
    """strongSwan answers a message 5 that it cannot read with an encrypted notification, which we cannot read."""
    pair = Pair(config(psk=b"one"), config(psk=b"two"))
    pair.dial()
    pair.run(0.5)
    pending = pair.client.ike._peers[pair.handle].pending
    (negotiation,) = pair.server.ike._half_open.values()
    assert pending is not None and negotiation.channel is not None
    data = negotiation.refusal_message(NotifyType.PAYLOAD_MALFORMED)
    pair.client.ike.receive(Datagram(HERE, THERE, data), pair.now)
    pair.run(4)
    assert pair.client.slugs() == [Slug.PSK_MISMATCH]
    assert "under other keys" in pair.client.failures()[0].detail


def test_n048_delete_of_another_peers_sa() -> None:
    script = up()
    other = Pair(config(dpd_delay=0.0), seed=5)
    handle = other.client.ike.initiate(Endpoint(CLIENT, 501), Endpoint(SERVER, 500), 1.0)
    for _ in range(6):
        for d in other.client.drain():
            script.server.ike.receive(Datagram(d.remote, d.local, d.data), script.pair.now)
        for d in script.server.drain():
            other.client.ike.receive(Datagram(d.remote, d.local, d.data), script.pair.now)
    assert script.server.ike.stats().peers == 2 and handle
    theirs = script.server.last(events.ChildUp)
    assert script.inform(informational.delete_children([theirs.spi_out]), 5) == []
    cookies = other.client.ike._peers[handle].ikes[0].channel
    assert script.inform(informational.delete_phase1(cookies), 6) == []
    assert script.server.ike.stats() == type(script.server.ike.stats())(2, 0, 2)


def test_n049_initial_contact_that_proves_nothing() -> None:
    script = up()
    note = (PayloadType.NOTIFY, Notify(NotifyType.INITIAL_CONTACT, 1, script.channel.cookies).emit())
    data = emit_message(Header(*script.phase1.cookies, 0, Exchange.INFORMATIONAL, 0, 77), [note])
    assert script.say(data) == []
    (answer,) = script.say(message_1(GOOD_SA.emit(), extra=[note], cookie=b"another1"))
    assert clear(answer)[0].exchange == Exchange.MAIN
    alive_now = script.server.ike.stats()
    assert (alive_now.peers, alive_now.children) == (1, 1)


def test_n050_initial_contact_of_a_stranger_with_the_same_private_address() -> None:
    from tests.ike.harness import PRIVATE, Nat

    one = Pair(client_nat=True, seed=1).connect()
    two = Pair(client_nat=True, seed=2)
    two.client_nat = Nat(str(PRIVATE), "203.0.113.9")
    two.server = one.server
    two.sim._right = two._adapter(one.server)
    two.dial()
    with two.sim:
        two.sim.run_until(lambda: bool(two.client.all(events.ChildUp)), limit=10)
    origin = two.client.ike._peers[two.handle].ikes[0].origin
    assert isinstance(origin, Initiator) and origin._first_contact, "it was said"
    assert one.server.ike.stats().peers == 2
    assert not one.server.all(events.PeerDown)


def test_n051_dead_peer_detection_out_of_sequence() -> Any:
    script = up()

    def ask(sequence: int, message_id: int) -> list[int]:
        datagrams = script.inform(informational.dpd(NotifyType.R_U_THERE, script.channel, sequence), message_id)
        notes = script.notes_of(datagrams)
        assert all(note.type == NotifyType.R_U_THERE_ACK and note.spi == script.channel.cookies for note in notes)
        return [int.from_bytes(note.data, "big") for note in notes]

    assert ask(100, 1001) == [100]
    assert ask(101, 1002) == [101]
    assert ask(101, 1003) == [101], "asked again because the answer was lost"
    assert ask(100, 1004) == []
    assert ask(2**32 - 1, 1005) == []
    assert ask(102, 1006) == [102]
    assert script.inform(informational.dpd(NotifyType.R_U_THERE_ACK, script.channel, 5), 1007) == []
    bad = Notify(NotifyType.R_U_THERE, 1, b"x" * 16, b"\0\0\0\x70").emit()
    assert script.inform([(PayloadType.NOTIFY, bad)], 1008) == []
    assert script.inform([(PayloadType.NOTIFY, Notify(NotifyType.R_U_THERE, 1, b"", b"\0\0").emit())], 1009) == []
    assert set(script.server.drops()) == {"ike_dpd"}


def test_n052_answers_stop() -> None:
    quick = config(dpd_delay=10.0, dpd_timeout=60.0)
    pair = Pair(quick, quick).connect()
    pair._tap = lambda _now, _right, _d: None
    begin = len(pair.wire)
    pair.run(75)
    for side in (pair.client, pair.server):
        assert side.last(events.PeerDown).failure.slug is Slug.DPD_LOST
        assert side.ike.stats() == type(side.ike.stats())(0, 0, 0)
        assert not side.data.inbound
    assert len(pair.wire) - begin >= 6, "at least three questions each"


def test_n053_fragments() -> Any:
    fifth = FifthMessage(client=cert_config("client"), server=cert_config("server"))
    whole = fifth.held[0].data
    (negotiation,) = fifth.pair.server.ike._half_open.values()

    def piece(key: int, number: int, data: bytes, *, last: bool = False) -> bytes:
        return emit_message(
            Header(whole[:8], whole[8:16], 0, Exchange.MAIN), [(PayloadType.FRAGMENT, Fragment(key, number, last, data).emit())]
        )

    for data in (
        piece(1, 0, b"x"),
        piece(1, 1, b"first"),
        piece(1, 1, b"other"),
        piece(1, 2, b"x", last=True)[:-1],
        piece(2, 5, b"x", last=True),
        piece(2, 6, b"x", last=True),
        *(piece(3, n, b"x" * 1100) for n in range(1, 100)),
        piece(4, 1, GOOD, last=True),
        emit_message(
            Header(whole[:8], whole[8:16], 0, Exchange.MAIN),
            [(PayloadType.FRAGMENT, Fragment(5, 1, True, whole).emit()), (PayloadType.VENDOR_ID, b"")],
        ),
        piece(6, 1, piece(7, 1, whole, last=True), last=True),
        piece(8, 1, relength(b"other co" + whole[8:]), last=True),
    ):
        assert fifth.say(relength(data)) == []
    assert len(negotiation.reassembly._unfinished) <= 2
    silent(Gateway(), piece(1, 1, b"x"), "ike_fragment")
    answers = [answer for part in split(whole, 99, 500) for answer in fifth.say(part)]
    assert answers
    assert fifth.pair.server.all(events.PeerUp)
    assert fifth.pair.server.ike._ctx._fragment_octets == sum(m.octets for m in negotiation.reassembly._unfinished.values())
    fifth.pair.server.ike.tick(fifth.pair.now + 31)
    assert fifth.pair.server.ike._ctx._fragment_octets == 0


@pytest.mark.parametrize("bodies", [[], [b"h" * 20], [b"h" * 20] * 9, [b"h" * 19, b"h" * 21, b""]])
def test_n054_nat_detection_payloads(bodies: list[bytes]) -> None:
    gateway = Gateway()
    cookies = half_open(gateway)
    data = message_3(cookies, public_of(Group.MODP2048), extra=[(PayloadType.NAT_D, body) for body in bodies])
    (answer,) = gateway.hear(data, now=5.0)
    assert clear(answer)[0].exchange == Exchange.MAIN
    (negotiation,) = gateway.ike._half_open.values()
    assert bool(negotiation._nat) is bool(bodies)


def test_n056_flood_of_first_messages() -> None:
    """A tenth of the hundred thousand, against a table that is smaller by as much."""
    gateway = Gateway(config(max_half_open=400))
    total, sent = 10_000, 0
    for number in range(total):
        remote = Endpoint.of(f"10.0.{number >> 8}.{number & 255}", 500)
        data = GOOD[:4] + (number + 1).to_bytes(4, "big") + GOOD[8:]
        gateway.ike.receive(Datagram(THERE, remote, data), 1.0 + number * 1e-5)
        for datagram in gateway.ike.poll_datagrams():
            sent += 1
            assert datagram.remote == remote and len(datagram.data) <= 2 * len(data)
    assert sent <= total
    assert gateway.ike.stats().half_open == 400
    assert len(gateway.ike._first) == len(gateway.ike._unproven) == len(gateway.ike._by_cookies) == 400
    assert sum(gateway.ike._per_prefix.values()) == 400
    assert len(gateway.ike._schedule._heap) < 1000
    gateway.ike.tick(20.0)
    assert gateway.drain() == [], "nothing is repeated unasked"
    gateway.ike.tick(60.0)
    assert gateway.ike.stats().half_open == 0 and not gateway.ike._per_prefix and not gateway.ike._by_cookies


def test_half_open_limit_of_one_address() -> None:
    gateway = Gateway(config(max_half_open_per_address=4))
    for number in range(10):
        gateway.hear(message_1(GOOD_SA.emit(), cookie=b"cookie%02d" % number))
    assert gateway.ike.stats().half_open == 4
    assert gateway.drops() == ["ike_half_open_limit"] * 6


def test_a_negotiation_that_went_on_is_not_evicted() -> None:
    gateway = Gateway(config("aes256-sha1-ecp256", max_half_open=4))
    cookies = half_open(gateway, ECP_SA)
    gateway.hear(message_3(cookies, public_of(Group.ECP256)), now=2.0)
    for number in range(20):
        gateway.hear(
            message_1(ECP_SA.emit(), cookie=b"cookie%02d" % number), now=3.0, remote=Endpoint.of(f"10.0.0.{number}", 500)
        )
    assert gateway.ike.stats().half_open == 4
    assert cookies in gateway.ike._half_open
    assert set(gateway.drops()) == {"ike_half_open_evicted"}


def test_n057_a_thousand_quick_modes() -> None:
    script = Script()
    answered = 0
    for number in range(1, 1001):
        answered += len(script.ask(script.payloads(esp_sa(esp_transform(), spi=(0x10000 + number).to_bytes(4, "big"))), number))
    assert answered == MAX_QUICK_MODES
    assert len(script.server.data.inbound) <= MAX_QUICK_MODES
    assert sum(not mode.finished for mode in script.server_peer._modes()) <= MAX_QUICK_MODES
    assert "ike_quick_mode_limit" in script.server.drops()
    script.server.ike.tick(script.pair.now + 500)
    script.server.absorb()


def test_n060_certificates_in_number_and_size() -> None:
    requests = emit_message(
        Header(b"initiate", bytes(8), 0, Exchange.MAIN),
        [(PayloadType.SA, GOOD_SA.emit()), *[(PayloadType.CERTIFICATE_REQUEST, b"\4" + b"n" * 40)] * 200],
    )
    assert clear(Gateway().hear(requests)[0])[0].exchange == Exchange.MAIN, "Windows asks for every root it has"
    ca, _ = authority()
    own = machine("client")
    wrapped = pkcs7.serialize_certificates([ca, x509.load_der_x509_certificate(own.chain[0])], Encoding.DER)
    assert negotiate_with(own, [Certificate(1, wrapped)]).server.all(events.PeerUp)
    extra = [Certificate(4, der(ca))]
    assert negotiate_with(own, [Certificate(4, own.chain[0]), *extra * 15]).server.all(events.PeerUp)
    for bad, slug in (
        ([Certificate(4, own.chain[0]), *extra * 19], Slug.CERT_MALFORMED),
        ([Certificate(4, b"x" * 60_000), Certificate(4, b"x" * 5_600)], Slug.CERT_MALFORMED),
        ([Certificate(4, b"x" * 60_000)], Slug.CERT_MALFORMED),
        ([Certificate(1, b"not PKCS #7")], Slug.CERT_MALFORMED),
        ([Certificate(2, b"PGP")], Slug.CERT_MALFORMED),
        ([], Slug.CERT_NONE),
    ):
        pair = negotiate_with(own, bad)
        assert pair.server.slugs() == [slug], slug
        assert not pair.server.all(events.PeerUp)
        assert pair.client.slugs() == [Slug.OUR_CERT_REFUSED]


def negotiate_with(own: Any, certificates: list[Certificate]) -> Pair:
    from headrace.ike import auth_cert

    class Crooked(auth_cert.CertAuthenticator):
        def prove(self, value: Any) -> Any:
            return [
                *((PayloadType.CERTIFICATE, item.emit()) for item in certificates),
                (PayloadType.SIGNATURE, auth_cert.sign(own.key, value)),
            ]

    client = config(psk=None, certificate=own, verifier=Verifier(), fragmentation=False)
    pair = Pair(client, cert_config("server"))
    crooked = Crooked(AuthMethod.RSA_SIGNATURE, own, Verifier())
    pair.dial()
    pending = pair.client.ike._peers[pair.handle].pending
    assert pending is not None
    setattr(pending, "_methods", lambda: {AuthMethod.RSA_SIGNATURE: crooked})  # noqa: B010
    pair.run(3)
    return pair
