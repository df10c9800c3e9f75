"""CCP without encryption: MPPC and Deflate agreed, refused, reset; what others have rejected politely. IPCP's header compression."""

from __future__ import annotations

import pytest
from tests.ppp.harness import Pair, Script, client_config, server_config
from tests.sim import BAD

from headrace.errors import Slug
from headrace.model import Compression, Compressor, Encryption, VjSlots
from headrace.ppp.config import AuthMethod, LinkConfig
from headrace.ppp.events import CompressionUp, Ipv4Up, LcpUp, MppeDown, MppeFlush, MppeUp
from headrace.ppp.frame import Code, Packet, Proto
from headrace.ppp.option import Option, parse_options

MPPC, DEFLATE = Compression.MPPC, Compression.DEFLATE
BOTH = (MPPC, DEFLATE)
OFF = Encryption.OFF


def mppe(text: str) -> Option:
    return Option(18, bytes.fromhex(text))


def deflate(octet: int = 0x78, check: int = 0) -> Option:
    return Option(26, bytes([octet, check]))


def authenticated(**changes: object) -> Script:
    script = Script(server_config(**changes))
    script.heard = script.authenticate()  # type: ignore[attr-defined]
    return script


def answers(script: Script, *options: Option, protocol: int = Proto.CCP) -> list[Packet]:
    heard = script.say(protocol, Code.CONFIGURE_REQUEST, 9, options)
    return [packet for number, packet in heard if number == protocol and packet.code in {2, 3, 4}]


def answer(script: Script, *options: Option, protocol: int = Proto.CCP) -> tuple[int, tuple[Option, ...]]:
    (packet,) = answers(script, *options, protocol=protocol)
    return packet.code, parse_options(packet.data, "test")


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize("auth", [AuthMethod.PAP, AuthMethod.MSCHAP_V2])
def test_two_of_us_agree(method: Compression, auth: AuthMethod) -> None:
    """Compression needs no keys."""
    pair = Pair(
        server_config(encryption=OFF, compression=(method,), auth_methods=(auth,)),
        client_config(encryption=OFF, compression=(method,), auth_methods=(auth,)),
    ).until(CompressionUp, Ipv4Up)
    for end in (pair.server, pair.client):
        compressor = Compressor(method, stateless=method is MPPC)
        assert end.one(CompressionUp) == CompressionUp(compressor, compressor)
        assert not end.has(MppeUp)
        assert not end.has(MppeDown)


@pytest.mark.parametrize("stateless", [True, False])
def test_mppc_goes_with_the_encryption(stateless: bool) -> None:
    pair = Pair(
        server_config(encryption=Encryption.REQUIRED_128, compression=BOTH, mppe_stateless=stateless),
        client_config(compression=BOTH, mppe_stateless=stateless),
    ).until(MppeUp, Ipv4Up)
    for end in (pair.server, pair.client):
        up = end.one(MppeUp)
        assert (up.send.mppc, up.receive.mppc, up.send.bits, up.send.stateless) == (True, True, 128, stateless)
        assert not end.has(CompressionUp)


def test_stateful_is_asked_for_once_and_the_peers_need_goes_first() -> None:
    """pppd asks for stateless, and takes a Nak if it may be stateful."""
    script = authenticated(encryption=Encryption.REQUIRED_128, mppe_stateless=False)
    assert answer(script, mppe("01000040")) == (Code.CONFIGURE_NAK, (mppe("00000040"),))
    assert answer(script, mppe("00000040")) == (Code.CONFIGURE_ACK, (mppe("00000040"),))
    assert answer(script, mppe("01000040")) == (Code.CONFIGURE_ACK, (mppe("01000040"),))


def test_mppc_on_one_side_only_is_not_used_but_the_encryption_is() -> None:
    pair = Pair(server_config(encryption=Encryption.REQUIRED_128), client_config(compression=(MPPC,))).until(MppeUp, Ipv4Up)
    assert [end.one(MppeUp).send.mppc for end in (pair.server, pair.client)] == [False, False]


def test_deflate_is_the_second_choice() -> None:
    pair = Pair(server_config(encryption=OFF, compression=(DEFLATE,)), client_config(encryption=OFF, compression=BOTH)).until(
        CompressionUp, Ipv4Up
    )
    up = pair.server.one(CompressionUp)
    assert up == CompressionUp(Compressor(DEFLATE), Compressor(DEFLATE))


def test_what_is_listed_first_is_wanted_most() -> None:
    """Encryption that is merely possible does not keep Deflate away; encryption that is preferred does."""
    deflate_only = {"compression": (DEFLATE,)}
    pair = Pair(server_config(**deflate_only), client_config(**deflate_only)).until(CompressionUp, Ipv4Up)
    assert pair.server.one(CompressionUp).send == Compressor(DEFLATE)
    pair = Pair(server_config(prefer_mppe=True, **deflate_only), client_config(**deflate_only)).until(MppeUp, Ipv4Up)
    assert not pair.client.has(CompressionUp)
    script = authenticated(**deflate_only)
    assert script.asked(Proto.CCP).data == deflate().emit() + mppe("010000e0").emit()
    script = authenticated(prefer_mppe=True, **deflate_only)
    assert script.asked(Proto.CCP).data == mppe("010000e0").emit() + deflate().emit()
    assert answer(script, deflate(), mppe("01000040")) == (Code.CONFIGURE_REJECT, (deflate(),))


def test_compression_refused_is_no_reason_to_end() -> None:
    pair = Pair(server_config(encryption=OFF), client_config(encryption=OFF, compression=BOTH)).until(Ipv4Up).run(60)
    assert pair.server.down is None
    assert pair.client.down is None
    assert not pair.client.has(CompressionUp)


def test_bad_weather() -> None:
    pair = Pair(
        server_config(encryption=OFF, compression=BOTH),
        client_config(encryption=OFF, compression=BOTH),
        weather=BAD,
        seed=3,
    ).until(CompressionUp, Ipv4Up, limit=120)
    assert {end.all(CompressionUp)[-1].send for end in (pair.server, pair.client)} == {
        pair.server.all(CompressionUp)[-1].receive
    }


def test_pppd_asks_for_all_it_has_and_gets_the_first_that_is_known() -> None:
    """Deflate twice (its number, and an old one) and BSD-Compress; Predictor politely refused, too."""
    script = authenticated(encryption=OFF, compression=BOTH)
    old, bsd, predictor = Option(24, b"\x78\x00"), Option(21, b"\x2f"), Option(1)
    assert answer(script, deflate(), old, bsd, predictor) == (Code.CONFIGURE_REJECT, (old, bsd, predictor))
    assert answer(script, deflate()) == (Code.CONFIGURE_ACK, (deflate(),))


def test_of_two_known_ones_one_is_taken() -> None:
    script = authenticated(encryption=OFF, compression=BOTH)
    assert answer(script, deflate(), mppe("00000001")) == (Code.CONFIGURE_REJECT, (mppe("00000001"),))
    script = authenticated(encryption=Encryption.REQUIRED_128, compression=BOTH)
    assert answer(script, deflate(), mppe("01000041")) == (Code.CONFIGURE_REJECT, (deflate(),))


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        (deflate(0x08), deflate(0x18)),  # 8: zlib has no such history
        (deflate(0x88), deflate(0x78)),  # 16
        (deflate(0xF8), deflate(0x78)),
        (deflate(0x79), deflate(0x78)),
        (deflate(0x78, 1), deflate(0x78)),
        (deflate(0x48, 3), deflate(0x48)),
    ],
)
def test_n163_deflate_options_that_cannot_be(option: Option, wanted: Option) -> None:
    script = authenticated(encryption=OFF, compression=(DEFLATE,))
    assert answer(script, option) == (Code.CONFIGURE_NAK, (wanted,))
    assert answer(script, wanted) == (Code.CONFIGURE_ACK, (wanted,))


@pytest.mark.parametrize("data", [b"", b"\x78", b"\x78\x00\x00"])
def test_deflate_options_of_another_length(data: bytes) -> None:
    script = authenticated(encryption=OFF, compression=(DEFLATE,))
    assert answer(script, Option(26, data)) == (Code.CONFIGURE_REJECT, (Option(26, data),))


def test_peer_may_name_a_smaller_history() -> None:
    script = authenticated(encryption=OFF, compression=(DEFLATE,))
    request = script.asked(Proto.CCP)
    assert request.data == deflate().emit()
    script.say(Proto.CCP, Code.CONFIGURE_NAK, request.identifier, (deflate(0x48),))
    assert script.asked(Proto.CCP).data == deflate(0x48).emit()
    script.negotiate(Proto.CCP, (deflate(0x38),))
    assert script.end.one(CompressionUp) == CompressionUp(Compressor(DEFLATE, window=11), Compressor(DEFLATE, window=12))


def test_peer_that_wants_an_impossible_history_gets_none() -> None:
    script = authenticated(encryption=OFF, compression=(DEFLATE,))
    script.say(Proto.CCP, Code.CONFIGURE_NAK, script.asked(Proto.CCP).identifier, (deflate(0xF8),))
    assert script.asked(Proto.CCP).data == b""


def test_directions_may_differ() -> None:
    script = authenticated(encryption=OFF, compression=BOTH)
    request = script.asked(Proto.CCP)
    assert request.data == mppe("01000001").emit() + deflate().emit()
    script.say(Proto.CCP, Code.CONFIGURE_REJECT, request.identifier, (deflate(),))
    script.negotiate(Proto.CCP, (deflate(),))
    assert script.end.one(CompressionUp) == CompressionUp(Compressor(DEFLATE), Compressor(MPPC, stateless=True))


def test_one_direction_alone() -> None:
    script = authenticated(encryption=OFF, compression=(DEFLATE,))
    script.negotiate(Proto.CCP, ())
    assert script.end.one(CompressionUp) == CompressionUp(None, Compressor(DEFLATE))
    assert not script.end.has(MppeDown)


def test_peer_without_strengths_is_naked_to_mppc() -> None:
    script = authenticated(encryption=OFF, compression=(MPPC,))
    assert answer(script, mppe("01000041")) == (Code.CONFIGURE_NAK, (mppe("01000001"),))
    assert answer(script, mppe("01000001")) == (Code.CONFIGURE_ACK, (mppe("01000001"),))
    assert answer(script, mppe("01000040")) == (Code.CONFIGURE_REJECT, (mppe("01000040"),))


def test_mppc_is_naked_away_where_it_is_not_allowed() -> None:
    script = authenticated(encryption=Encryption.REQUIRED_128)
    assert answer(script, mppe("01000041")) == (Code.CONFIGURE_NAK, (mppe("01000040"),))


def test_compression_never_stands_in_for_the_encryption_that_is_required() -> None:
    script = authenticated(encryption=Encryption.REQUIRED_128, compression=BOTH)
    for _ in range(8):
        answers(script, mppe("01000001"))
    script.wait(20)
    assert script.end.why is Slug.ENCRYPTION_STRENGTH
    assert not script.end.has(CompressionUp)
    assert not script.end.has(Ipv4Up)


def test_peer_that_has_no_ccp_stays_connected() -> None:
    script = authenticated(encryption=OFF, compression=BOTH)
    request = script.asked(Proto.CCP)
    script.say(Proto.LCP, Code.PROTOCOL_REJECT, 1, b"\x80\xfd" + request.emit())
    assert script.wait(15) is not None
    assert script.end.down is None


def test_resets_of_deflate() -> None:
    """One Reset-Request a second; its Ack ends it, a replayed one is nothing; the peer's is acknowledged with its identifier."""
    script = authenticated(encryption=OFF, compression=(DEFLATE,))
    script.negotiate(Proto.CCP, (deflate(),))
    script.link.mppe_lost(script.now)
    ((_, request),) = script.hear()
    assert (request.code, request.data) == (Code.RESET_REQUEST, b"")
    script.link.mppe_lost(script.now)
    assert script.hear() == []
    assert script.say(Proto.CCP, Code.RESET_ACK, request.identifier) == []
    assert "ccp_reset" not in script.drops()
    script.say(Proto.CCP, Code.RESET_ACK, request.identifier)
    assert "ccp_reset" in script.drops()
    assert script.say(Proto.CCP, Code.RESET_REQUEST, 77) == [(Proto.CCP, Packet(Code.RESET_ACK, 77, b""))]
    assert script.end.has(MppeFlush)


def test_stateless_mppc_needs_no_reset() -> None:
    script = authenticated(encryption=OFF, compression=(MPPC,))
    script.negotiate(Proto.CCP, (mppe("01000001"),))
    script.link.mppe_lost(script.now)
    assert script.hear() == []


def test_renegotiation_takes_the_histories_back() -> None:
    script = authenticated(encryption=OFF, compression=(DEFLATE,))
    script.negotiate(Proto.CCP, (deflate(),))
    script.negotiate(Proto.CCP, (deflate(0x28),), identifier=5)
    assert script.end.order(CompressionUp, MppeDown) == [CompressionUp, MppeDown, CompressionUp]
    script.say(Proto.CCP, Code.TERMINATE_REQUEST, 9)
    assert script.end.order(CompressionUp, MppeDown) == [CompressionUp, MppeDown, CompressionUp, MppeDown]
    assert script.end.down is None


# --- TCP/IP headers, and the serial line ---


def ipcp(**changes: object) -> Script:
    return authenticated(encryption=OFF, **changes)


def vj(slots: int, omit: int = 0) -> Option:
    return Option(2, b"\x00\x2d" + bytes([slots, omit]))


def test_two_of_us_compress_headers() -> None:
    pair = Pair(server_config(vj_slots=16), client_config(vj_slots=8)).until(Ipv4Up)
    assert pair.server.one(Ipv4Up).vj == VjSlots(send=8, receive=16)
    assert pair.client.one(Ipv4Up).vj == VjSlots(send=8, receive=8)


def test_slots_are_left_out_on_lines_only() -> None:
    pair = Pair(server_config(vj_slots=16, accm=0), client_config(vj_slots=16, accm=0)).until(Ipv4Up)
    assert pair.server.one(Ipv4Up).vj == VjSlots(16, 16, omit_slot=True)
    pair = Pair(server_config(vj_slots=16, accm=0), client_config(vj_slots=16)).until(Ipv4Up)
    assert (pair.server.one(Ipv4Up).vj.omit_slot, pair.client.one(Ipv4Up).vj.omit_slot) == (False, False)


def test_headers_on_one_side_only() -> None:
    pair = Pair(server_config(vj_slots=16), client_config()).until(Ipv4Up)
    assert {pair.server.one(Ipv4Up).vj, pair.client.one(Ipv4Up).vj} == {VjSlots()}


@pytest.mark.parametrize("slots", [0, 255])
def test_n148_slots_that_nobody_can_have(slots: int) -> None:
    script = ipcp(vj_slots=16)
    assert answer(script, vj(slots), protocol=Proto.IPCP)[0] in {Code.CONFIGURE_REJECT, Code.CONFIGURE_NAK}
    code, options = answer(script, vj(slots), Option(3, bytes(4)), protocol=Proto.IPCP)
    assert (code, options) == (Code.CONFIGURE_REJECT, (vj(slots),))


@pytest.mark.parametrize("option", [Option(2, b"\x00\x37\x0f\x00"), Option(2, b"\x00\x2d"), Option(2, b"\x00\x61" + bytes(12))])
def test_other_compression_of_headers_is_naked_to_this_one(option: Option) -> None:
    script = ipcp(vj_slots=16)
    code, options = answer(script, option, protocol=Proto.IPCP)
    assert code == Code.CONFIGURE_NAK
    assert vj(15) in options


@pytest.mark.parametrize(
    ("nak", "then"),
    [(vj(7), vj(7)), (vj(15), None), (vj(200), None), (vj(0), None), (Option(2, b"\x00\x37\x03\x00"), None)],
)
def test_peer_naks_our_slots(nak: Option, then: Option | None) -> None:
    script = ipcp(vj_slots=16)
    script.say(Proto.IPCP, Code.CONFIGURE_NAK, script.asked(Proto.IPCP).identifier, (nak,))
    asked = {option.type: option for option in parse_options(script.asked(Proto.IPCP).data, "test")}
    assert asked.get(2) == then


def test_pppd_naks_the_slot_that_may_be_left_out() -> None:
    script = ipcp(vj_slots=16, accm=0)
    assert vj(15, 1) in parse_options(script.asked(Proto.IPCP).data, "test")
    script.say(Proto.IPCP, Code.CONFIGURE_NAK, script.asked(Proto.IPCP).identifier, (vj(15, 0),))
    assert vj(15, 0) in parse_options(script.asked(Proto.IPCP).data, "test")


def test_control_characters_of_a_line() -> None:
    pair = Pair(server_config(accm=0x000A0000), client_config(accm=0)).until(LcpUp)
    assert pair.server.one(LcpUp).send_accm == 0
    assert pair.client.one(LcpUp).send_accm == 0x000A0000
    assert Pair().until(LcpUp).server.one(LcpUp).send_accm == 0xFFFFFFFF
    script = Script(LinkConfig(server=True, accm=0))
    script.hear()
    request = script.asked(Proto.LCP)
    script.say(Proto.LCP, Code.CONFIGURE_NAK, request.identifier, (Option(2, b"\x00\x0a\x00\x00"),))
    assert Option(2, b"\x00\x0a\x00\x00") in parse_options(script.asked(Proto.LCP).data, "test")
