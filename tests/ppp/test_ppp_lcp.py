"""LCP: options, echo, loops, Protocol-Reject."""

from __future__ import annotations

import dataclasses

import pytest
from tests.ppp.harness import LOCAL, Pair, Script, client_config, codes, options_of, seeded, server_config

from headrace.errors import Slug
from headrace.model import Failure
from headrace.ppp.config import AuthMethod
from headrace.ppp.events import Carried, Ipv4Up, LcpUp, LinkDown, ProtocolRejected, TimeRemaining
from headrace.ppp.frame import Code, Frame, Packet, Proto
from headrace.ppp.lcp import AUTH_OPTION
from headrace.ppp.option import Option, parse_options

PLAIN = server_config(auth_methods=())
MAGIC = Option(5, b"\x12\x34\x56\x78")


def opened(script: Script, *options: Option) -> Script:
    script.negotiate(Proto.LCP, options or (Option(5, script.magic),))
    assert script.end.has(LcpUp)
    return script


def answer_to(script: Script, *options: Option) -> Packet:
    heard = script.say(Proto.LCP, Code.CONFIGURE_REQUEST, 9, options)
    (answer,) = [packet for _, packet in heard if packet.code in {2, 3, 4}]
    assert answer.identifier == 9
    return answer


def test_what_a_server_asks_for() -> None:
    script = Script()
    ((protocol, request),) = script.hear()
    assert (protocol, request.code) == (Proto.LCP, Code.CONFIGURE_REQUEST)
    options = options_of(request)
    assert list(options) == [1, 3, 5, 7, 8]
    assert options[1] == b"\x05\x78"
    assert options[3] == b"\xc2\x23\x81"


def test_what_a_client_asks_for() -> None:
    options = options_of(Script(client_config(mru=1500, pfc=False, acfc=False)).hear()[0][1])
    assert list(options) == [5]


@pytest.mark.parametrize(
    ("option", "code"),
    [
        (Option(1, b"\x05\x78"), 2),
        (Option(2, bytes(4)), 2),
        (Option(2, b"\xff" * 4), 2),
        (Option(4, b"\xc0\x25\x00\x00\x00\x00"), 4),
        (Option(5, b"\0\0\0\1"), 2),
        (Option(7), 2),
        (Option(8), 2),
        (Option(9, b"\x01"), 4),
        (Option(10, b"\x01"), 4),
        (Option(11, b"\x01"), 4),
        (Option(13, b"\x06"), 4),
        (Option(15), 4),
        (Option(17, b"\x06\x4e"), 4),
        (Option(18), 4),
        (Option(19, b"\x01" + bytes(20)), 2),
        (Option(23, b"\x00\x01"), 4),
        (Option(0, b""), 4),
        (Option(255, b""), 4),
    ],
)
def test_each_option_of_the_peer(option: Option, code: int) -> None:
    answer = answer_to(Script(PLAIN), option)
    assert answer.code == code
    assert answer.data == option.emit()


@pytest.mark.parametrize(("option", "length"), [(1, 3), (1, 1), (2, 3), (3, 1), (5, 3), (5, 5), (7, 1), (8, 2)])
def test_option_of_a_wrong_length_is_rejected(option: int, length: int) -> None:
    assert answer_to(Script(PLAIN), Option(option, bytes(length))).code == Code.CONFIGURE_REJECT


def test_reject_comes_before_nak_and_names_only_what_is_rejected() -> None:
    answer = answer_to(Script(PLAIN), Option(1, b"\0\0"), Option(13, b"\x06"), MAGIC, Option(4, b"\xc0\x25"))
    assert answer.code == Code.CONFIGURE_REJECT
    assert parse_options(answer.data, "test") == (Option(13, b"\x06"), Option(4, b"\xc0\x25"))


def test_n123_senseless_lists_of_options() -> None:
    for options in ((Option(99),) * 750, (Option(0),), (MAGIC,) * 50, (Option(0),) * 100):
        script = Script(PLAIN)
        answer = answer_to(script, *options)
        assert answer.code == Code.CONFIGURE_REJECT
        assert len(answer.emit()) <= 1400
        rejected = parse_options(answer.data, "test")
        assert set(rejected) <= set(options)
        assert len(rejected) == (49 if options[0] == MAGIC else min(len(options), 698))


def test_n124_senseless_mru_and_magic() -> None:
    for mru in (0, 1, 67, 65535):
        answer = answer_to(Script(PLAIN), Option(1, mru.to_bytes(2, "big")))
        assert (answer.code, options_of(answer)) == (Code.CONFIGURE_NAK, {1: b"\x05\x78"})
    answer = answer_to(Script(PLAIN), Option(5, bytes(4)))
    assert answer.code == Code.CONFIGURE_NAK
    assert options_of(answer)[5] != bytes(4)
    script = Script(PLAIN)
    for turn in range(20):
        heard = script.say(Proto.LCP, Code.CONFIGURE_REQUEST, turn, (Option(5, script.link._lcp._magic.to_bytes(4, "big")),))
        if turn < 4:
            assert codes(heard, Proto.LCP)[-1] == Code.CONFIGURE_NAK
    script.wait(10)
    assert script.end.why is Slug.LCP_LOOPBACK


def test_real_loop_is_found() -> None:
    script = Script(PLAIN)
    for _ in range(100):
        for frame in script.end.drain():
            script.raw(frame)
    script.wait(10)
    assert script.end.why is Slug.LCP_LOOPBACK


def test_nak_of_magic_brings_another() -> None:
    script = Script(PLAIN)
    ((_, request),) = script.hear()
    ((_, again),) = script.say(Proto.LCP, Code.CONFIGURE_NAK, request.identifier, (MAGIC,))
    assert again.identifier != request.identifier
    assert options_of(again)[5] not in {options_of(request)[5], MAGIC.data}


@pytest.mark.parametrize(("offered", "asked"), [(1300, 1300), (1, 68), (9000, 1400)])
def test_nak_of_mru_is_taken_within_bounds(offered: int, asked: int) -> None:
    script = Script(PLAIN)
    ((_, request),) = script.hear()
    ((_, again),) = script.say(Proto.LCP, Code.CONFIGURE_NAK, request.identifier, (Option(1, offered.to_bytes(2, "big")),))
    assert options_of(again)[1] == asked.to_bytes(2, "big")


def test_rejected_options_are_asked_for_no_more() -> None:
    script = Script(PLAIN)
    ((_, request),) = script.hear()
    ((_, again),) = script.say(Proto.LCP, Code.CONFIGURE_REJECT, request.identifier, (Option(7), Option(8)))
    assert list(options_of(again)) == [1, 5]
    ((_, third),) = script.say(Proto.LCP, Code.CONFIGURE_NAK, again.identifier, (Option(1, b"\x05\x00"),))
    assert list(options_of(third)) == [1, 5]


def test_what_may_be_sent_follows_the_peers_request() -> None:
    script = opened(Script(PLAIN), Option(1, b"\x02\x00"), Option(8))
    assert script.end.one(LcpUp) == LcpUp(send_mru=512, send_acfc=True, send_pfc=False, auth=None)
    assert opened(Script(PLAIN), Option(1, b"\x20\x00")).end.one(LcpUp).send_mru == 1400
    assert opened(Script(PLAIN), Option(7)).end.one(LcpUp).send_mru == 1400  # no MRU is 1500, our own limit is less


# --- authentication is agreed on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted", [AUTH_OPTION[AuthMethod.PAP], AUTH_OPTION[AuthMethod.CHAP_MD5], b"\xc2\x23\x80", b"\xc2\x27"]
)
def test_n133_method_that_is_not_allowed(wanted: bytes) -> None:
    """Either role, default policy: the client Naks with MS-CHAPv2 until it gives up, the server asks for nothing else."""
    client = Script(client_config())
    answers = []
    for number in range(1, 9):
        heard = client.say(Proto.LCP, Code.CONFIGURE_REQUEST, number, (Option(3, wanted), Option(5, client.magic)))
        answers += [packet for _, packet in heard if packet.code in {2, 3, 4}]
    assert [packet.code for packet in answers] == [Code.CONFIGURE_NAK] * 5
    assert all(options_of(packet) == {3: b"\xc2\x23\x81"} for packet in answers)
    client.wait(10)
    assert client.end.why is Slug.AUTH_NO_COMMON

    server = Script(server_config())
    heard = server.hear()
    while heard and heard[-1][1].code == Code.CONFIGURE_REQUEST:
        assert options_of(heard[-1][1])[3] == b"\xc2\x23\x81"
        heard = server.say(Proto.LCP, Code.CONFIGURE_NAK, heard[-1][1].identifier, (Option(3, wanted),))
    server.wait(10)
    assert server.end.why is Slug.AUTH_NO_COMMON


def test_server_closes_if_the_peer_will_not_authenticate() -> None:
    script = Script()
    ((_, request),) = script.hear()
    script.say(Proto.LCP, Code.CONFIGURE_REJECT, request.identifier, (Option(3, b"\xc2\x23\x81"),))
    script.wait(10)
    assert script.end.why is Slug.AUTH_NO_COMMON


def test_server_goes_down_its_list() -> None:
    methods = (AuthMethod.MSCHAP_V2, AuthMethod.CHAP_MD5, AuthMethod.PAP)
    pair = Pair(server_config(auth_methods=methods), client_config(auth_methods=(AuthMethod.PAP,))).until(Ipv4Up)
    assert pair.server.one(LcpUp).auth is AuthMethod.PAP
    assert (
        len([frame for frame in pair.server.sent if frame.protocol == Proto.LCP]) == 3
    )  # the client's Nak named what it wants


def test_server_takes_the_next_method_if_the_nak_names_none_of_its() -> None:
    script = Script(server_config(auth_methods=(AuthMethod.MSCHAP_V2, AuthMethod.PAP)))
    asked = []
    heard = script.hear()
    while heard and heard[-1][1].code == Code.CONFIGURE_REQUEST:
        asked.append(options_of(heard[-1][1])[3])
        heard = script.say(Proto.LCP, Code.CONFIGURE_NAK, heard[-1][1].identifier, (Option(3, b"\xc2\x27"),))
    assert asked == [AUTH_OPTION[AuthMethod.MSCHAP_V2], AUTH_OPTION[AuthMethod.PAP]] * 2 + [AUTH_OPTION[AuthMethod.MSCHAP_V2]]


def test_no_common_method_ends_both() -> None:
    pair = Pair(server_config(auth_methods=(AuthMethod.MSCHAP_V2,)), client_config(auth_methods=(AuthMethod.PAP,))).until_down()
    assert Slug.AUTH_NO_COMMON in {pair.server.why, pair.client.why}
    assert not pair.server.has(LcpUp)


def test_server_does_not_authenticate_itself() -> None:
    assert answer_to(Script(), Option(3, b"\xc2\x23\x81")).code == Code.CONFIGURE_REJECT


def test_client_without_credentials_cannot_agree_to_authenticate() -> None:
    assert answer_to(Script(client_config(credentials=None)), Option(3, b"\xc2\x23\x81")).code == Code.CONFIGURE_REJECT
    assert answer_to(Script(client_config(auth_methods=())), Option(3, b"\xc2\x23\x81")).code == Code.CONFIGURE_REJECT


def test_client_with_credentials_expects_to_be_asked() -> None:
    script = opened(Script(client_config()))
    script.wait(10)
    assert script.end.why is Slug.AUTH_NO_COMMON


def test_link_without_authentication() -> None:
    pair = Pair(server_config(auth_methods=()), client_config(credentials=None))
    pair.sim.run_until(lambda: pair.client.has(LcpUp), limit=1)
    pair.until_down()  # nobody, so nobody's address
    assert pair.server.why is Slug.POOL_EMPTY


# --- echo -------------------------------------------------------------------------------------------------------------------


def test_n129_echo_request() -> None:
    early = Script(PLAIN)
    early.hear()
    assert early.say(Proto.LCP, Code.ECHO_REQUEST, 1, early.magic) == []
    assert early.drops() == ["lcp_state"]
    script = opened(Script(PLAIN))
    own = script.link._lcp.ours.magic.to_bytes(4, "big")
    assert script.say(Proto.LCP, Code.ECHO_REQUEST, 2, b"\x01\x02\x03\x04") == []
    assert script.say(Proto.LCP, Code.ECHO_REQUEST, 2, own) == []
    assert script.drops() == ["lcp_magic"] * 2
    assert script.say(Proto.LCP, Code.ECHO_REQUEST, 2, b"\x01") == []
    assert script.say(Proto.LCP, Code.ECHO_REQUEST, 3, script.magic + b"hi") == [
        (Proto.LCP, Packet(Code.ECHO_REPLY, 3, own + b"hi"))
    ]
    ((_, reply),) = script.say(Proto.LCP, Code.ECHO_REQUEST, 4, script.magic + bytes(1992))
    assert len(reply.emit()) == 1400


def test_n130_echoes_unanswered() -> None:
    script = opened(Script(server_config(auth_methods=(), echo_interval=10.0, echo_failure=5, network_timeout=1e6)))
    heard = script.wait(59.9)
    assert codes(heard, Proto.LCP) == [Code.ECHO_REQUEST] * 5
    assert len({packet.identifier for _, packet in heard}) == 5
    assert codes(script.wait(10), Proto.LCP) == [Code.TERMINATE_REQUEST] * 2
    down = script.end.one(LinkDown)
    assert down.failure.slug is Slug.ECHO_LOST
    assert down.failure.detail == "5 LCP echoes unanswered, nothing heard for 60 s"
    assert script.link.deadline() is None


def test_answers_and_data_postpone_the_echo() -> None:
    script = opened(Script(server_config(auth_methods=(), echo_interval=10.0, network_timeout=1e6)))
    for _ in range(20):
        script.wait(9)
        script.link.saw_data(script.now)
    assert codes(script.hear(), Proto.LCP) == []
    for _ in range(20):
        for _, packet in script.wait(11):
            script.say(Proto.LCP, Code.ECHO_REPLY, packet.identifier, script.magic)
    assert not script.end.down
    assert script.say(Proto.LCP, Code.ECHO_REPLY, 77, script.magic) == []
    assert "lcp_echo" in script.drops()


def test_reply_with_a_foreign_magic_is_no_answer() -> None:
    script = opened(Script(server_config(auth_methods=(), echo_interval=10.0, network_timeout=1e6)))
    ((_, request),) = script.wait(10.5)
    script.say(Proto.LCP, Code.ECHO_REPLY, request.identifier, b"\1\2\3\4")
    assert "lcp_magic" in script.drops()


def test_no_echo_if_switched_off_or_refused() -> None:
    off = opened(Script(server_config(auth_methods=(), echo_interval=0.0, network_timeout=1e6)))
    assert off.wait(1000) == []
    refused = opened(Script(server_config(auth_methods=(), echo_interval=10.0, network_timeout=1e6)))
    ((_, request),) = refused.wait(10.5)
    refused.say(Proto.LCP, Code.CODE_REJECT, 1, request.emit())
    assert refused.wait(1000) == []
    assert not refused.end.down


def test_discard_and_time_remaining_are_silence() -> None:
    script = opened(Script(PLAIN))
    assert script.say(Proto.LCP, Code.DISCARD_REQUEST, 1, script.magic + b"x") == []
    assert script.say(Proto.LCP, Code.TIME_REMAINING, 1, script.magic + b"\0\0\0\x3chi\x07") == []
    assert script.end.one(TimeRemaining) == TimeRemaining(60, "hi\\x07")
    for short in (b"", script.magic, script.magic + bytes(3)):
        assert script.say(Proto.LCP, Code.TIME_REMAINING, 1, short) == []
    assert script.say(Proto.LCP, Code.DISCARD_REQUEST, 1, b"abc") == []
    assert script.drops() == ["lcp_contents"] * 4


def test_our_own_magic_after_opening_is_a_line_looped_back() -> None:
    script = opened(Script(PLAIN))
    ours = options_of(script.asked(Proto.LCP))[5]
    for code in (Code.ECHO_REQUEST, Code.DISCARD_REQUEST, Code.ECHO_REQUEST, Code.ECHO_REQUEST):
        assert script.say(Proto.LCP, code, 1, ours) == []
    script.say(Proto.LCP, Code.ECHO_REQUEST, 2, script.magic)
    for _ in range(4):
        assert script.say(Proto.LCP, Code.ECHO_REQUEST, 1, ours) == []
    assert script.end.down is None
    script.say(Proto.LCP, Code.ECHO_REQUEST, 1, ours)
    script.wait(10)
    assert script.end.why is Slug.LCP_LOOPBACK


def test_we_name_ourselves_and_tell_the_time_that_is_left() -> None:
    script = opened(Script(client_config(credentials=None, identification="headrace 9")))
    sent = [Packet.parse(frame.information, "test") for frame in script.end.sent if frame.protocol == Proto.LCP]
    (told,) = [packet for packet in sent if packet.code == Code.IDENTIFICATION]
    ours = options_of(script.asked(Proto.LCP))[5]
    assert told.data == ours + b"headrace 9"
    script.link.time_remaining(3600.9, "lunch")
    ((_, packet),) = script.hear()
    assert (packet.code, packet.data) == (Code.TIME_REMAINING, ours + b"\0\0\x0e\x10lunch")
    script.say(Proto.LCP, Code.CODE_REJECT, 1, packet.emit())
    script.link.time_remaining(60)
    assert script.hear() == []
    assert script.end.down is None


@pytest.mark.parametrize("number", sorted(set(range(256)) - {1, 2, 5, 7, 8, 19}))
def test_every_option_that_is_not_ours_to_agree_to_is_rejected(number: int) -> None:
    for data in (b"", b"\x06", bytes(4), bytes(253)):
        answer = answer_to(Script(PLAIN), Option(number, data))
        assert (answer.code, answer.data) == (Code.CONFIGURE_REJECT, Option(number, data).emit()[: 1400 - 4])


def test_a_frame_of_a_registered_protocol_is_handed_on_and_others_are_rejected() -> None:
    script = opened(Script(dataclasses.replace(PLAIN, foreign=frozenset({0x4021, 0x8029}), local_address=LOCAL)))
    assert script.link.carry(0x4021, b"hi")
    assert script.end.drain()[-1] == b"\x40\x21hi"
    script.raw(Frame(0x4021, b"frame").emit())
    script.raw(Frame(0x8029, b"control").emit())
    heard = script.hear()
    assert [event.information for event in script.end.all(Carried)] == [b"frame", b"control"]
    assert Code.PROTOCOL_REJECT not in codes(heard, Proto.LCP)
    script.raw(Frame(0x4023, b"other").emit())
    assert codes(script.hear(), Proto.LCP) == [Code.PROTOCOL_REJECT]
    assert not script.link.carry(0x4023, b"other")
    assert not script.link.carry(0x4021, bytes(1401))
    script.say(Proto.LCP, Code.PROTOCOL_REJECT, 5, b"\x40\x21frame")
    assert script.end.one(ProtocolRejected).protocol == 0x4021


# --- Protocol-Reject --------------------------------------------------------------------------------------------------------


def test_protocol_reject_repeats_what_it_rejects_and_is_limited() -> None:
    script = opened(Script(PLAIN))
    frame = Frame(0x8057, Packet(1, 1, b"\x01\x0a" + bytes(8)).emit())
    script.raw(frame.emit())
    ((protocol, reject),) = script.hear()
    assert (protocol, reject.code) == (Proto.LCP, Code.PROTOCOL_REJECT)
    assert reject.data == b"\x80\x57" + frame.information
    script.raw(frame.emit())
    assert script.hear() == []
    script.raw(Frame(0x80FD, Packet(1, 1).emit()).emit())
    assert len(script.hear()) == 1  # another protocol that Windows tries in the same moment
    for number in range(0x4001, 0x4101, 2):
        script.raw(Frame(number, b"x").emit())
    assert len(script.hear()) == 1
    script.wait(1.0)
    script.raw(frame.emit())
    assert len(script.hear()) == 1


def test_protocol_reject_for_us() -> None:
    script = opened(Script(server_config()), Option(5, b"\1\2\3\4"))
    script.say(Proto.LCP, Code.PROTOCOL_REJECT, 1, b"\x00")
    assert script.drops()[-1] == "lcp_contents"
    script.say(Proto.LCP, Code.PROTOCOL_REJECT, 1, b"\x80\x57\x01")
    assert not script.end.down
    script.say(Proto.LCP, Code.PROTOCOL_REJECT, 1, b"\xc2\x23\x01")
    script.wait(10)
    assert script.end.why is Slug.AUTH_NO_COMMON


def test_first_protocol_reject_before_opened_is_dropped() -> None:
    script = Script(PLAIN)
    script.hear()
    assert script.say(Proto.LCP, Code.PROTOCOL_REJECT, 1, b"\xc0\x21\x01") == []
    assert script.drops() == ["lcp_state"]


def test_magic_is_never_zero() -> None:
    from headrace.ppp.link import Link

    link = Link(PLAIN, bytes)
    link.open(0.0)
    (frame,) = link.poll_frames()
    assert options_of(Packet.parse(Frame.parse(frame).information, "test"))[5] == b"\0\0\0\1"


def test_restart_brings_a_new_magic() -> None:
    script = opened(Script(PLAIN, seed=9))
    first = script.link._lcp.ours.magic
    heard = script.say(Proto.LCP, Code.CONFIGURE_REQUEST, 50, (Option(5, script.magic),))
    assert options_of(heard[0][1])[5] != first.to_bytes(4, "big")
    script.link.close(Failure(Slug.ADMIN), script.now)
    assert codes(script.hear(), Proto.LCP) == [Code.TERMINATE_REQUEST]


def test_seeds_give_the_same_run() -> None:
    def run() -> list[bytes]:
        pair = Pair(seed=3).until(Ipv4Up)
        return [frame.emit() for frame in pair.server.sent + pair.client.sent]

    assert run() == run()
    assert seeded(1)(8) == seeded(1)(8)
