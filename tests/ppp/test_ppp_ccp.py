"""CCP and MPPE: strengths, policies, resets, and everything that must end with 742 and not with user data in clear."""

from __future__ import annotations

import pytest
from tests.ppp.harness import REMOTE, REQUIRED, Pair, Script, Store, client_config, codes, server_config

from headrace.errors import Slug
from headrace.model import Encryption, MppeKeys
from headrace.ppp.ccp import STATELESS, mppe_option, strengths
from headrace.ppp.config import AuthAccept, AuthMethod
from headrace.ppp.events import AuthRequest, EncryptionDecided, Ipv4Up, LinkDown, MppeDown, MppeFlush, MppeUp
from headrace.ppp.frame import Code, Frame, Packet, Proto
from headrace.ppp.mppe import start_keys
from headrace.ppp.mschap_crypto import nt_password_hash
from headrace.ppp.option import Option, parse_options

H128 = Option(18, bytes.fromhex("01000040"))
REQUIRE = server_config(encryption=Encryption.REQUIRED_128)


def mppe(text: str) -> Option:
    return Option(18, bytes.fromhex(text))


def authenticated(config: object = REQUIRE, store: Store | None = None) -> Script:
    script = Script(config, store)  # type: ignore[arg-type]
    script.heard = script.authenticate()  # type: ignore[attr-defined]
    return script


def encrypted(config: object = REQUIRE) -> Script:
    """MPPE is up with 128 bits, and IPCP, too."""
    script = authenticated(config)
    script.negotiate(Proto.CCP, (H128,))
    if not script.end.has(MppeUp):  # the link offered more than one strength
        request = script.asked(Proto.CCP)
        script.say(Proto.CCP, Code.CONFIGURE_ACK, request.identifier, request.data)
    script.negotiate(Proto.IPCP, (Option(3, REMOTE.packed),))
    assert script.end.has(MppeUp)
    assert script.end.has(Ipv4Up)
    return script


def ask(script: Script, *options: Option) -> list[Packet]:
    """What the link answers to a Configure-Request of CCP."""
    heard = script.say(Proto.CCP, Code.CONFIGURE_REQUEST, 9, options)
    return [packet for number, packet in heard if number == Proto.CCP and packet.code in {2, 3, 4}]


def ended_with_742(script: Script, slug: Slug = Slug.ENCRYPTION_REFUSED) -> bool:
    """The link says 742 to the peer and ends for this reason, and there was no IPv4 after that."""
    heard = script.hear() + script.wait(10)
    terminates = [packet for number, packet in [*script_sent(script), *heard] if number == Proto.LCP and packet.code == 5]
    assert terminates
    assert {packet.data[4:] for packet in terminates} == {bytes.fromhex("003ccd74000002e6")}
    assert script.end.why is slug, script.end.down
    return True


def script_sent(script: Script) -> list[tuple[int, Packet]]:
    return [(frame.protocol, Packet.parse(frame.information, "x")) for frame in script.end.sent]


def test_bits() -> None:
    assert mppe_option((128,), stateless=True) == H128
    assert mppe_option((128, 56, 40), stateless=False).data.hex() == "000000e0"
    assert strengths(0x010000E1) == (128, 56, 40)
    assert strengths(STATELESS) == ()


def test_required_server_begins_and_offers_what_it_takes() -> None:
    script = authenticated(server_config(encryption=Encryption.REQUIRED))
    assert codes(script.heard, Proto.CCP) == [1]  # type: ignore[attr-defined]
    assert codes(script.heard, Proto.IPCP) == []  # type: ignore[attr-defined]
    assert script.asked(Proto.CCP).data == mppe("010000e0").emit()
    only = authenticated()
    assert only.asked(Proto.CCP).data == H128.emit()


def test_keys_of_the_link_are_those_of_the_proof() -> None:
    script = encrypted()
    up = script.end.one(MppeUp)
    response = next(frame for frame in script.end.sent if frame.protocol == Proto.CHAP)
    assert response
    proof = script.respond(Packet(1, 0, b"\x10" + script.challenge))[25:49]
    send, receive = start_keys(nt_password_hash("wonderland"), proof, server=True)
    assert up.send == MppeKeys(outbound=True, bits=128, stateless=True, start_key=send)
    assert up.receive == MppeKeys(outbound=False, bits=128, stateless=True, start_key=receive)
    assert send.hex() not in repr(up)
    assert script.end.order(EncryptionDecided, MppeUp, Ipv4Up) == [EncryptionDecided, MppeUp, Ipv4Up]


def test_request_of_ipcp_that_comes_too_early_is_kept() -> None:
    """Windows and pppd begin IPCP at once; an answer only after their timer would cost three seconds."""
    script = authenticated()
    assert script.say(Proto.IPCP, Code.CONFIGURE_REQUEST, 1, (Option(3, bytes(4)),)) == []
    assert script.say(Proto.IPCP, Code.CONFIGURE_REQUEST, 2, (Option(3, bytes(4)),)) == []
    assert script.say(Proto.IPCP, Code.TERMINATE_ACK, 2) == []
    script.raw(Frame(Proto.IPCP, b"\x01").emit())
    heard = script.negotiate(Proto.CCP, (H128,))
    (nak,) = [packet for number, packet in heard if number == Proto.IPCP and packet.code == 3]
    assert nak.identifier == 2


def test_kept_request_may_be_malformed() -> None:
    script = authenticated()
    assert script.say(Proto.IPCP, Code.CONFIGURE_REQUEST, 1, b"\x03\x00") == []
    heard = script.negotiate(Proto.CCP, (H128,))
    assert codes(heard, Proto.IPCP) == [Code.CONFIGURE_REQUEST]
    assert "ipcp_option" in script.drops()


@pytest.mark.parametrize("how", ["protocol", "option", "code", "naks", "silence", "empty", "terminate"])
def test_n153_required_and_the_peer_rejects_mppe(how: str) -> None:
    script = authenticated()
    request = script.asked(Proto.CCP)
    slug = Slug.ENCRYPTION_REFUSED
    if how == "protocol":
        script.say(Proto.LCP, Code.PROTOCOL_REJECT, 1, b"\x80\xfd" + request.emit())
    elif how == "option":
        script.say(Proto.CCP, Code.CONFIGURE_REJECT, request.identifier, request.data)
    elif how == "code":
        script.say(Proto.CCP, Code.CODE_REJECT, 1, request.emit())
    elif how == "naks":
        slug = Slug.ENCRYPTION_STRENGTH
        for _ in range(12):
            script.say(Proto.CCP, Code.CONFIGURE_NAK, script.asked(Proto.CCP).identifier, (mppe("00000020"),))
    elif how == "silence":
        script.wait(60)
    elif how == "empty":
        script.say(Proto.CCP, Code.CONFIGURE_ACK, request.identifier, request.data)
        for _ in range(7):
            ask(script)
    else:
        script.say(Proto.CCP, Code.TERMINATE_REQUEST, 1)
    assert ended_with_742(script, slug)
    assert not script.end.has(Ipv4Up)
    assert not script.end.has(MppeUp)
    assert script.end.one(EncryptionDecided).required


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("00000020", "01000040"),
        ("00000080", "01000040"),
        ("01000020", "01000040"),
        ("01000080", "01000040"),
        ("00000040", "01000040"),
        ("01000000", "01000040"),
        ("00000000", "01000040"),
        ("00000001", "01000040"),
        ("010000e0", "01000040"),
        ("010000f1", "01000040"),
        ("ffffffff", "01000040"),
    ],
)
def test_n154_offers_that_are_too_weak_too_many_or_none(offer: str, answer: str) -> None:
    script = authenticated(server_config(encryption=Encryption.REQUIRED_128, mppe_allow_stateful=False))
    for _ in range(5):
        (nak,) = ask(script, mppe(offer))
        assert (nak.code, nak.data) == (Code.CONFIGURE_NAK, mppe(answer).emit())
    assert ask(script, mppe(offer)) == []
    assert ended_with_742(script, Slug.ENCRYPTION_STRENGTH)
    good = authenticated(server_config(encryption=Encryption.REQUIRED_128, mppe_allow_stateful=False))
    ask(good, mppe(offer))
    assert [packet.code for packet in ask(good, H128)] == [Code.CONFIGURE_ACK]


def test_peer_that_naks_us_to_something_weak() -> None:
    script = authenticated(server_config(encryption=Encryption.REQUIRED, mppe_bits=(128, 56)))
    script.say(Proto.CCP, Code.CONFIGURE_NAK, script.asked(Proto.CCP).identifier, (mppe("010000a0"),))
    assert script.asked(Proto.CCP).data == mppe("01000080").emit()
    script.say(Proto.CCP, Code.CONFIGURE_NAK, script.asked(Proto.CCP).identifier, (mppe("00000080"),))
    assert script.asked(Proto.CCP).data == mppe("00000080").emit()
    script.say(Proto.CCP, Code.CONFIGURE_NAK, script.asked(Proto.CCP).identifier, (Option(26, b"xx"),))
    assert script.asked(Proto.CCP).data == mppe("00000080").emit()


def test_stateful_only_where_it_is_allowed() -> None:
    script = authenticated(server_config(encryption=Encryption.REQUIRED, mppe_allow_stateful=False))
    script.say(Proto.CCP, Code.CONFIGURE_NAK, script.asked(Proto.CCP).identifier, (mppe("00000040"),))
    assert script.asked(Proto.CCP).data == H128.emit()
    wanted = authenticated(server_config(encryption=Encryption.REQUIRED, mppe_stateless=False, mppe_bits=(128,)))
    assert wanted.asked(Proto.CCP).data == mppe("00000040").emit()
    assert ask(wanted, mppe("00000040"))[0].code == Code.CONFIGURE_ACK
    assert ask(wanted, H128)[0].data == mppe("00000040").emit()  # once
    assert ask(wanted, H128)[0].code == Code.CONFIGURE_ACK
    wanted.say(Proto.CCP, Code.CONFIGURE_NAK, wanted.asked(Proto.CCP).identifier, (H128,))
    assert wanted.asked(Proto.CCP).data == H128.emit()


def test_n155_clear_user_data_under_encryption() -> None:
    script = encrypted()
    for frame in (b"\x00\x21\x45" + bytes(19), b"\x21\x45" + bytes(19), b"\xff\x03\x00\x57" + bytes(40)):
        script.raw(frame)
    assert script.hear() == []
    assert script.drops() == ["mppe_cleartext"] * 3
    optional = authenticated(server_config(encryption=Encryption.OPTIONAL, prefer_mppe=True, mppe_bits=(128,)))
    optional.negotiate(Proto.CCP, (H128,))
    optional.raw(b"\x00\x21\x45" + bytes(19))
    assert optional.hear() == []
    assert optional.drops() == ["mppe_cleartext"]


def test_n156_mppe_frame_before_ccp_is_open() -> None:
    script = authenticated()
    script.raw(b"\x00\xfd\x90\x00" + bytes(40))
    assert script.hear() == []
    assert script.drops() == ["mppe_not_open"]
    assert not script.end.has(MppeUp)
    script.negotiate(Proto.CCP, (H128,))
    assert script.end.has(MppeUp)


@pytest.mark.parametrize("body", [b"", b"\x90", b"\x90\x00", b"\x00\x00" + bytes(9), b"\xf0\x00" + bytes(9)])
def test_n157_mppe_frames_that_reach_the_control_plane(body: bytes) -> None:
    """The data plane looks at the header; what it passes on all the same gets no answer and moves nothing."""
    script = encrypted()
    before = script.link.deadline()
    script.raw(b"\x00\xfd" + body)
    assert script.hear() == []
    assert script.drops() == ["mppe_not_open"]
    assert script.link.deadline() == before


def stateful(config: object | None = None) -> Script:
    script = authenticated(config or server_config(encryption=Encryption.REQUIRED, mppe_bits=(128,), mppe_stateless=False))
    script.negotiate(Proto.CCP, (mppe("00000040"),))
    assert not script.end.one(MppeUp).receive.stateless
    script.hear()
    return script


def test_n158_lost_packets_of_a_stateless_peer_need_no_reset() -> None:
    """Keys follow the coherency count in the data plane; no jump of it makes this layer say anything."""
    script = encrypted()
    for _ in range(5):
        script.link.mppe_lost(script.now)
    assert script.hear() == []


def test_n159_resets() -> None:
    script = stateful()
    for _ in range(10):
        script.link.mppe_lost(script.now)
    ((protocol, reset),) = script.hear()
    assert (protocol, reset.code, reset.data) == (Proto.CCP, Code.RESET_REQUEST, b"")
    assert script.say(Proto.CCP, Code.RESET_ACK, reset.identifier + 1 & 0xFF) == []
    assert script.drops() == ["ccp_reset"]
    script.link.mppe_lost(script.now + 0.9)
    assert script.hear() == []
    script.say(Proto.CCP, Code.RESET_ACK, reset.identifier)
    script.link.mppe_lost(script.now + 0.95)
    ((_, second),) = script.hear()
    assert second.identifier != reset.identifier
    script.link.mppe_lost(script.now + 2.0)
    assert len(script.hear()) == 1
    assert script.say(Proto.CCP, Code.RESET_ACK, 0) == []
    assert script.say(Proto.CCP, Code.RESET_REQUEST, 0xEE, b"x") == [(Proto.CCP, Packet(Code.RESET_ACK, 0xEE))]
    assert script.end.has(MppeFlush)


def test_resets_before_mppe_is_up() -> None:
    script = authenticated()
    script.link.mppe_lost(script.now)
    assert script.say(Proto.CCP, Code.RESET_REQUEST, 1) == []
    assert script.say(Proto.CCP, Code.RESET_ACK, 1) == []
    assert script.drops() == ["ccp_state"] * 2
    nothing = Script()
    nothing.link.mppe_lost(nothing.now)
    assert codes(nothing.hear(), Proto.CCP) == []


@pytest.mark.parametrize("method", [AuthMethod.PAP, AuthMethod.CHAP_MD5])
@pytest.mark.parametrize("policy", list(Encryption))
def test_n160_authentication_without_keys(method: AuthMethod, policy: Encryption) -> None:
    pair = Pair(server_config(auth_methods=(method,), encryption=policy), client_config(auth_methods=(method,)))
    if policy in REQUIRED:
        pair.until_down()
        down = pair.server.one(LinkDown)
        assert down.failure.slug is Slug.ENCRYPTION_NO_KEYS
        assert method in down.failure.detail
        assert pair.client.one(LinkDown).failure.detail == "the server says 742"
        assert not pair.server.has(Ipv4Up)
        return
    pair.until(Ipv4Up)
    server = pair.server
    server.receive(Frame(Proto.CCP, Packet(1, 1, H128.emit()).emit()).emit(), pair.sim.now)
    reject = Packet.parse(Frame.parse(server.drain()[-1]).information, "x")
    assert (reject.code, reject.data[:2]) == (Code.PROTOCOL_REJECT, b"\x80\xfd")
    assert ("ccp_no_keys" in {event.reason for event in server.events if hasattr(event, "reason")}) is (
        policy is Encryption.OPTIONAL
    )


@pytest.mark.parametrize(("send", "receive"), [(None, None), (b"x" * 16, None), (b"x" * 8, b"x" * 8)])
def test_radius_without_keys_is_no_keys(send: bytes | None, receive: bytes | None) -> None:
    script = Script(REQUIRE)
    script.end.store = None
    script.authenticate()
    request = script.end.one(AuthRequest)
    grant = AuthAccept("alice", address=REMOTE, mschap_success=b"S=" + b"0" * 40, mppe_send_key=send, mppe_recv_key=receive)
    script.link.auth_result(request.request, grant, script.now)
    assert ended_with_742(script, Slug.ENCRYPTION_NO_KEYS)


def test_client_that_requires_encryption_does_not_give_its_password_away() -> None:
    client = client_config(auth_methods=(AuthMethod.PAP,), encryption=Encryption.REQUIRED)
    pair = Pair(server_config(auth_methods=(AuthMethod.PAP,)), client).until_down()
    assert pair.client.why is Slug.ENCRYPTION_NO_KEYS
    assert pair.server.why is Slug.ENCRYPTION_LOCAL
    assert all(frame.protocol != Proto.PAP for frame in pair.client.sent)
    both = client_config(auth_methods=(AuthMethod.PAP, AuthMethod.MSCHAP_V2), encryption=Encryption.REQUIRED)
    Pair(server_config(auth_methods=(AuthMethod.PAP, AuthMethod.MSCHAP_V2)), both).until(MppeUp, Ipv4Up)


def test_policy_that_leaves_no_strength() -> None:
    script = authenticated(server_config(encryption=Encryption.REQUIRED_128, mppe_bits=(56, 40)))
    assert ended_with_742(script, Slug.ENCRYPTION_STRENGTH)


def test_n161_garbage_under_encryption() -> None:
    script = encrypted()
    rejects = 0
    for number in range(31):
        script.raw(Frame(0x1201 + 2 * number, bytes(20)).emit())
        rejects += len(script.hear())
        script.now += 0.1
    assert rejects == 4  # one a second
    assert not script.end.down
    script.link.saw_data(script.now)  # one good frame shows that the keys fit
    for number in range(32):
        assert not script.end.down
        script.raw(Frame(0x1201 + 2 * number, bytes(20)).emit())
    script.wait(10)
    assert script.end.why is Slug.MPPE_KEYS_DIFFER


def test_keys_differ_is_seen_by_the_peers_protocol_rejects_too() -> None:
    script = encrypted()
    for number in range(32):
        script.say(Proto.LCP, Code.PROTOCOL_REJECT, number, (0x1201 + 2 * number).to_bytes(2, "big") + b"x")
    script.wait(10)
    assert script.end.why is Slug.MPPE_KEYS_DIFFER
    clear = authenticated(server_config())
    for number in range(100):
        clear.say(Proto.LCP, Code.PROTOCOL_REJECT, number & 0xFF, (0x1201 + 2 * number).to_bytes(2, "big") + b"x")
    assert not clear.end.down


def test_n164_options_that_are_no_option() -> None:
    script = authenticated(server_config(encryption=Encryption.OPTIONAL))
    for option in (
        Option(18, bytes(3)),
        Option(18, bytes(5)),
        Option(18),
        Option(26, b"\x78\x00"),
        Option(0, b"abcd"),
        Option(17, bytes(3)),
    ):
        (answer,) = ask(script, option, H128)
        assert (answer.code, answer.data) == (Code.CONFIGURE_REJECT, option.emit())
    (answer,) = ask(script, H128, mppe("01000020"))
    assert (answer.code, answer.data) == (Code.CONFIGURE_REJECT, mppe("01000020").emit())
    assert ask(script, H128)[0].code == Code.CONFIGURE_ACK


@pytest.mark.parametrize("how", ["request", "nak"])
def test_n165_renegotiated_to_something_weaker(how: str) -> None:
    script = encrypted(server_config(encryption=Encryption.REQUIRED))
    if how == "request":
        assert ask(script, mppe("01000080")) == []
    else:
        assert ask(script, H128)[0].code == Code.CONFIGURE_ACK
        script.say(Proto.CCP, Code.CONFIGURE_NAK, script.asked(Proto.CCP).identifier, (mppe("01000080"),))
    assert ended_with_742(script, Slug.ENCRYPTION_STRENGTH)
    assert len(script.end.all(MppeUp)) == 1


def test_renegotiated_to_the_same_is_fine() -> None:
    script = encrypted(server_config(encryption=Encryption.REQUIRED))
    assert ask(script, H128)[0].code == Code.CONFIGURE_ACK
    assert script.end.order(MppeUp, MppeDown) == [MppeUp, MppeDown]
    request = script.asked(Proto.CCP)
    script.say(Proto.CCP, Code.CONFIGURE_ACK, request.identifier, request.data)
    assert script.end.order(MppeUp, MppeDown) == [MppeUp, MppeDown, MppeUp]
    script.wait(100)
    assert script.end.why is not Slug.ENCRYPTION_REFUSED


def test_renegotiation_that_stops_half_way_ends_the_link() -> None:
    script = encrypted(server_config(encryption=Encryption.REQUIRED, echo_interval=0.0))
    ask(script, H128)
    script.wait(100)
    assert ended_with_742(script)


def test_n166_ccp_terminated_while_encryption_is_required() -> None:
    script = encrypted()
    heard = script.say(Proto.CCP, Code.TERMINATE_REQUEST, 5)
    assert codes(heard, Proto.LCP) == [Code.TERMINATE_REQUEST]
    assert script.end.order(MppeUp, MppeDown) == [MppeUp, MppeDown]
    assert ended_with_742(script)
    optional = authenticated(server_config(prefer_mppe=True, mppe_bits=(128,)))
    optional.negotiate(Proto.CCP, (H128,))
    optional.say(Proto.CCP, Code.TERMINATE_REQUEST, 5)
    optional.wait(5)
    assert optional.end.has(MppeDown)
    assert not optional.end.down


# --- optional and off ---------------------------------------------------------------------------------------------------------


def test_optional_waits_for_the_peer_and_never_for_ccp() -> None:
    script = authenticated(server_config())
    assert codes(script.heard, Proto.CCP) == []  # type: ignore[attr-defined]
    assert codes(script.heard, Proto.IPCP) == [1]  # type: ignore[attr-defined]
    assert not script.end.one(EncryptionDecided).required
    heard = script.say(Proto.CCP, Code.CONFIGURE_REQUEST, 1, (mppe("01000080"),))
    assert codes(heard, Proto.CCP) == [1, 2]
    assert script.asked(Proto.CCP).data == mppe("01000080").emit()  # what the peer has shown it takes


@pytest.mark.parametrize("how", ["protocol", "option", "empty", "silence"])
def test_rejected_ccp_stays_connected_where_encryption_is_optional(how: str) -> None:
    script = authenticated(server_config(prefer_mppe=True, echo_interval=0.0))
    request = script.asked(Proto.CCP)
    if how == "protocol":
        script.say(Proto.LCP, Code.PROTOCOL_REJECT, 1, b"\x80\xfd" + request.emit())
    elif how == "option":
        heard = script.say(Proto.CCP, Code.CONFIGURE_REJECT, request.identifier, request.data)
        assert heard[0][1].data == b""
    elif how == "empty":
        assert ask(script)[0].code == Code.CONFIGURE_ACK
        script.say(Proto.CCP, Code.CONFIGURE_REJECT, request.identifier, request.data)
        empty = script.asked(Proto.CCP)
        heard = script.say(Proto.CCP, Code.CONFIGURE_ACK, empty.identifier, empty.data)
        assert codes(heard, Proto.CCP) == [Code.TERMINATE_REQUEST]
    script.negotiate(Proto.IPCP, (Option(3, REMOTE.packed),))
    script.wait(100)
    assert script.end.has(Ipv4Up)
    assert not script.end.has(MppeUp)
    assert not script.end.down


def test_optional_with_no_common_strength_rejects_the_option() -> None:
    script = authenticated(server_config(mppe_bits=(128,)))
    (answer,) = ask(script, mppe("01000020"))
    assert (answer.code, parse_options(answer.data, "x")) == (Code.CONFIGURE_REJECT, (mppe("01000020"),))
    script.say(Proto.CCP, Code.CONFIGURE_NAK, script.asked(Proto.CCP).identifier, (mppe("01000020"),))
    assert script.asked(Proto.CCP).data == b""
    stubborn = authenticated(server_config())
    answers = [ask(stubborn, mppe("01000041"))[0].code for _ in range(6)]
    assert answers == [Code.CONFIGURE_NAK] * 5 + [Code.CONFIGURE_REJECT]


def test_directions_may_differ() -> None:
    """What each side takes is its own affair (RFC 3078 section 2): the keys of a direction follow its receiver."""
    script = authenticated(server_config())
    ask(script, mppe("00000080"))
    script.say(Proto.CCP, Code.CONFIGURE_NAK, script.asked(Proto.CCP).identifier, (H128,))
    request = script.asked(Proto.CCP)
    assert request.data == H128.emit()
    script.say(Proto.CCP, Code.CONFIGURE_ACK, request.identifier, request.data)
    up = script.end.one(MppeUp)
    assert (up.send.bits, up.send.stateless, len(up.send.start_key)) == (56, False, 8)
    assert (up.receive.bits, up.receive.stateless, len(up.receive.start_key)) == (128, True, 16)


def test_a_peer_that_goes_first_over_the_strength_is_not_taken_for_one_without_mppe() -> None:
    """pppd with 40 bits only ends the link at our Nak, before our own verdict."""
    script = authenticated(server_config(encryption=Encryption.REQUIRED_128))
    ask(script, mppe("01000020"))
    script.say(Proto.LCP, Code.TERMINATE_REQUEST, 2, b"MPPE required but peer negotiation failed")
    assert script.end.why is Slug.ENCRYPTION_STRENGTH
    assert "40 bits" in script.end.one(LinkDown).failure.detail


def test_off_rejects_ccp_and_goes_on() -> None:
    script = authenticated(server_config(encryption=Encryption.OFF))
    ((protocol, reject),) = script.say(Proto.CCP, Code.CONFIGURE_REQUEST, 1, (H128,))
    assert (protocol, reject.code, reject.data[:2]) == (Proto.LCP, Code.PROTOCOL_REJECT, b"\x80\xfd")
    script.say(Proto.LCP, Code.TERMINATE_REQUEST, 2, b"MPPE required but peer refused")
    assert script.end.why is Slug.ENCRYPTION_LOCAL
