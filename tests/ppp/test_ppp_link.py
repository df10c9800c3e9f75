"""Two links back to back: every method, every policy, good and bad networks."""

from __future__ import annotations

import itertools

import pytest
from tests.ppp.harness import DNS, LOCAL, REMOTE, REQUIRED, WINS, Pair, Script, Store, client_config, server_config
from tests.sim import Weather

from headrace.errors import Slug
from headrace.model import Encryption, Failure
from headrace.ppp.config import AuthMethod
from headrace.ppp.events import Authenticated, EncryptionDecided, Ipv4Down, Ipv4Up, LcpUp, LinkDown, MppeDown, MppeUp
from headrace.ppp.frame import Code, Frame, Packet, Proto
from headrace.ppp.link import AUTHENTICATION, Phase
from headrace.ppp.option import Option


@pytest.mark.parametrize("method", [method for method in AUTHENTICATION if method is not AuthMethod.EAP])
def test_every_method_brings_ipv4_up(method: AuthMethod) -> None:
    pair = Pair(server_config(auth_methods=(method,)), client_config(auth_methods=(method,), want_wins=True)).until(Ipv4Up)
    assert pair.server.one(Authenticated) == Authenticated("alice", method)
    assert pair.client.one(Authenticated).method is method
    assert pair.server.one(Ipv4Up) == Ipv4Up(LOCAL, REMOTE, DNS, WINS)
    assert pair.client.one(Ipv4Up) == Ipv4Up(REMOTE, LOCAL, DNS, WINS)
    assert pair.server.link.peer_name == "alice"
    assert pair.client.link.phase is Phase.NETWORK
    assert pair.sim.sent < 20
    up = pair.server.one(LcpUp)
    assert (up.send_mru, up.send_acfc, up.send_pfc, up.auth) == (1400, True, True, method)


def expected(server: Encryption, client: Encryption) -> tuple[bool, bool]:
    """Whether the link comes up, and whether it is encrypted."""
    if Encryption.OFF in {server, client}:
        return not ({server, client} & set(REQUIRED)), False
    return True, bool({server, client} & set(REQUIRED))


@pytest.mark.parametrize(("server", "client"), list(itertools.product(Encryption, Encryption)))
def test_policy_matrix(server: Encryption, client: Encryption) -> None:
    pair = Pair(server_config(encryption=server), client_config(encryption=client))
    up, encrypted = expected(server, client)
    if not up:
        pair.until_down()
        assert not pair.server.has(Ipv4Up)
        assert not pair.client.has(Ipv4Up)
        if server in REQUIRED:
            assert pair.server.why is Slug.ENCRYPTION_REFUSED
            assert pair.client.down is not None
            assert pair.client.down.failure == Failure(Slug.ENCRYPTION_REFUSED, "the server says 742")
            assert pair.client.down.by_peer
        else:
            assert pair.client.why is Slug.ENCRYPTION_REFUSED
            assert pair.server.why is Slug.ENCRYPTION_LOCAL
        return
    pair.until(Ipv4Up).run(1)
    assert pair.server.has(MppeUp) is encrypted
    if not encrypted:
        return
    ours, theirs = pair.server.one(MppeUp), pair.client.one(MppeUp)
    assert ours.send.start_key == theirs.receive.start_key != ours.receive.start_key == theirs.send.start_key
    assert (ours.send.bits, ours.send.stateless, ours.send.outbound, ours.receive.outbound) == (128, True, True, False)
    for end, policy in ((pair.server, server), (pair.client, client)):
        assert end.one(EncryptionDecided).required is (policy in REQUIRED)
        if policy in REQUIRED:
            assert end.order(EncryptionDecided, MppeUp, Ipv4Up) == [EncryptionDecided, MppeUp, Ipv4Up]


@pytest.mark.parametrize("who", ["server", "client"])
def test_optional_prefers_mppe_if_told(who: str) -> None:
    pair = Pair(server_config(prefer_mppe=who == "server"), client_config(prefer_mppe=who == "client"))
    pair.until(Ipv4Up, MppeUp)
    assert not pair.server.one(EncryptionDecided).required


@pytest.mark.parametrize(
    ("server_bits", "client_bits", "agreed"),
    [((128, 56, 40), (40,), 40), ((56, 40), (128, 56), 56), ((128,), (128, 40), 128), ((40,), (56,), None)],
)
def test_strongest_common_strength_wins(server_bits: tuple[int, ...], client_bits: tuple[int, ...], agreed: int | None) -> None:
    config = {"encryption": Encryption.REQUIRED}
    pair = Pair(server_config(mppe_bits=server_bits, **config), client_config(mppe_bits=client_bits, **config))
    if agreed is None:
        pair.until_down()
        assert Slug.ENCRYPTION_STRENGTH in {pair.server.why, pair.client.why}
        return
    pair.until(Ipv4Up)
    keys = pair.server.one(MppeUp)
    assert keys.send.bits == keys.receive.bits == agreed
    assert len(keys.send.start_key) == (16 if agreed == 128 else 8)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("method", [AuthMethod.MSCHAP_V2, AuthMethod.PAP, AuthMethod.CHAP_MD5])
def test_bad_network(seed: int, method: AuthMethod) -> None:
    weather = Weather(loss=0.2, duplicate=0.1, reorder=0.2, jitter=0.01)
    encryption = Encryption.REQUIRED if method is AuthMethod.MSCHAP_V2 else Encryption.OPTIONAL
    server = server_config(auth_methods=(method,), encryption=encryption, auth_timeout=120.0, network_timeout=120.0)
    client = client_config(auth_methods=(method,), auth_timeout=120.0, network_timeout=120.0)
    pair = Pair(server, client, weather=weather, seed=seed)
    with pair.sim as sim:
        # The last Ack may be lost: then one side is up, the other asks again, and both start anew. So: both up at one moment.
        sim.run_until(lambda: steady(pair, encrypted=encryption in REQUIRED), limit=300)
        if encryption in REQUIRED:
            assert pair.server.all(MppeUp)[-1].send.start_key == pair.client.all(MppeUp)[-1].receive.start_key
        pair.client.link.close(Failure(Slug.USER_REQUEST), sim.now)
        sim.run_until(lambda: pair.client.down is not None, limit=60)
        assert pair.client.why is Slug.USER_REQUEST


def steady(pair: Pair, *, encrypted: bool) -> bool:
    """Whether both have IPv4, and MPPE if it is required, at this moment."""
    ends = (pair.server, pair.client)
    ready = all(end.order(Ipv4Up, Ipv4Down)[-1:] == [Ipv4Up] for end in ends)
    return ready and (not encrypted or all(end.order(MppeUp, MppeDown)[-1:] == [MppeUp] for end in ends))


def test_client_hangs_up() -> None:
    pair = Pair().until(Ipv4Up)
    pair.client.link.close(Failure(Slug.USER_REQUEST, "bye"), pair.sim.now)
    pair.until_down(limit=1)
    assert pair.server.one(LinkDown) == LinkDown(Failure(Slug.USER_REQUEST, "hung up"), by_peer=True)
    assert pair.client.one(LinkDown) == LinkDown(Failure(Slug.USER_REQUEST, "bye"), by_peer=False)
    assert pair.server.order(Ipv4Down, LinkDown) == pair.client.order(Ipv4Down, LinkDown) == [Ipv4Down, LinkDown]
    (request,) = [
        frame for frame in pair.client.sent if frame.protocol == Proto.LCP and frame.information[0] == Code.TERMINATE_REQUEST
    ]
    data = Packet.parse(request.information, "lcp").data
    assert data[4:] == bytes.fromhex("003ccd74 00000000")
    assert data[:4] == pair.client.link._lcp.ours.magic.to_bytes(4, "big")
    assert pair.server.link.deadline() is None


@pytest.mark.parametrize(
    ("slug", "number", "client_slug"),
    [
        (Slug.ENCRYPTION_REFUSED, 742, Slug.ENCRYPTION_REFUSED),
        (Slug.USER_UNKNOWN, 691, Slug.AUTH_FAILED),
        (Slug.ACCOUNT_EXPIRED, 691, Slug.AUTH_FAILED),
        (Slug.HOURS, 646, Slug.HOURS),
        (Slug.IDLE_TIMEOUT, 828, Slug.IDLE_TIMEOUT),
        (Slug.POOL_EMPTY, 717, Slug.POOL_EMPTY),
        (Slug.ADMIN, 629, Slug.PEER_CLOSED),
    ],
)
def test_server_gives_its_reason(slug: Slug, number: int, client_slug: Slug) -> None:
    pair = Pair().until(Ipv4Up)
    pair.server.link.close(Failure(slug, "because"), pair.sim.now)
    pair.until_down(limit=1)
    assert pair.client.one(LinkDown) == LinkDown(Failure(client_slug, f"the server says {number}"), by_peer=True)
    assert pair.server.one(LinkDown).failure == Failure(slug, "because")


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize(
    ("data", "slugs"),
    [
        (b"", (Slug.USER_REQUEST, Slug.PEER_CLOSED)),
        (b"User request", (Slug.USER_REQUEST, Slug.PEER_CLOSED)),
        (b"MPPE required but peer refused", (Slug.ENCRYPTION_LOCAL, Slug.ENCRYPTION_REFUSED)),
        (b"MPPE disabled", (Slug.ENCRYPTION_LOCAL, Slug.ENCRYPTION_REFUSED)),
        (b"Peer not responding", (Slug.ECHO_LOST, Slug.ECHO_LOST)),
        (b"\x1b[2Jnonsense\n", (Slug.LCP_TERMINATED, Slug.LCP_TERMINATED)),
        (bytes.fromhex("05e23274003ccd74000002b3"), (Slug.AUTH_FAILED, Slug.AUTH_FAILED)),
        (bytes.fromhex("08dd6215003ccd7400000000"), (Slug.USER_REQUEST, Slug.PEER_CLOSED)),
        (bytes.fromhex("08dd6215003ccd74000002e6"), (Slug.ENCRYPTION_LOCAL, Slug.ENCRYPTION_REFUSED)),
        (bytes.fromhex("08dd6215003ccd74000002e5"), (Slug.ENCRYPTION_REFUSED, Slug.ENCRYPTION_LOCAL)),
        (bytes.fromhex("08dd6215003ccd747fffffff"), (Slug.LCP_TERMINATED, Slug.LCP_TERMINATED)),
        (bytes.fromhex("08dd6215003ccd74000002"), (Slug.LCP_TERMINATED, Slug.LCP_TERMINATED)),
    ],
)
def test_peers_reason_is_understood(role: str, data: bytes, slugs: tuple[Slug, Slug]) -> None:
    script = Script(server_config(auth_methods=()) if role == "server" else client_config(credentials=None))
    script.lcp()
    heard = script.say(Proto.LCP, Code.TERMINATE_REQUEST, 9, data)
    assert (Proto.LCP, Packet(Code.TERMINATE_ACK, 9)) in heard
    down = script.end.one(LinkDown)
    assert down.by_peer
    assert down.failure.slug is slugs[role == "client"]
    assert down.failure.detail.isprintable()


def test_goodbye_of_encrypted_pppd_is_normal() -> None:
    script = Script(server_config(encryption=Encryption.REQUIRED))
    script.authenticate()
    script.say(Proto.CCP, Code.CONFIGURE_REQUEST, 1, bytes.fromhex("120601000040"))
    script.say(Proto.CCP, Code.CONFIGURE_ACK, 1, bytes.fromhex("1206010000e0"))
    script.say(Proto.CCP, Code.CONFIGURE_NAK, 1, bytes.fromhex("120601000040"))
    script.say(Proto.CCP, Code.CONFIGURE_ACK, 2, bytes.fromhex("120601000040"))
    assert script.end.has(MppeUp)
    script.say(Proto.LCP, Code.TERMINATE_REQUEST, 2, b"MPPE disabled")
    assert script.end.why is Slug.USER_REQUEST


def test_unanswered_requests_end_the_link_and_say_which_direction() -> None:
    script = Script()
    heard = script.hear() + script.wait(60)
    assert codes_of(heard) == [Code.CONFIGURE_REQUEST] * 10
    assert len({packet.identifier for _, packet in heard}) == 1
    down = script.end.one(LinkDown)
    assert down.failure.slug is Slug.LCP_TIMEOUT
    assert "none received" in down.failure.detail
    assert script.now - 1000.0 >= 30.0


def codes_of(heard: list[tuple[int, Packet]]) -> list[int]:
    return [packet.code for _, packet in heard]


def test_one_direction_dead_is_told_apart() -> None:
    script = Script()
    script.hear()
    for _ in range(30):
        script.say(Proto.LCP, Code.CONFIGURE_REQUEST, 1, b"\x05\x06\x01\x02\x03\x04")
        script.wait(3)
    assert script.end.why is Slug.LCP_TIMEOUT
    assert "not acknowledged" in script.end.one(LinkDown).failure.detail


def test_passive_start_waits_for_the_peer() -> None:
    script = Script(server_config(passive_start=2.0))
    assert script.hear() == []
    assert script.link.deadline() == 1002.0
    heard = script.say(Proto.LCP, Code.CONFIGURE_REQUEST, 1, b"\x05\x06\x01\x02\x03\x04")
    assert codes_of(heard) == [Code.CONFIGURE_REQUEST, Code.CONFIGURE_ACK]
    silent = Script(server_config(passive_start=2.0))
    assert codes_of(silent.wait(2.2)) == [Code.CONFIGURE_REQUEST]


def test_request_that_was_lost_is_repeated_soon_and_then_at_the_restart_timer() -> None:
    """Some Windows versions lose a Configure-Request that comes before their own, and pppd is only being started."""
    script = Script()
    (first,) = script.hear()
    for interval in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0):
        assert script.wait(interval - 0.1) == []
        assert script.wait(0.1) == [first]


def test_close_before_open_and_before_an_answer() -> None:
    closed = Script(opened=False)
    closed.link.close(Failure(Slug.SHUTDOWN), closed.now)
    closed.end.drain()
    assert closed.end.one(LinkDown) == LinkDown(Failure(Slug.SHUTDOWN), by_peer=False)
    waiting = Script(server_config(passive_start=5.0))
    waiting.link.close(Failure(Slug.SHUTDOWN), waiting.now)
    assert waiting.hear() == []
    assert waiting.end.why is Slug.SHUTDOWN
    asking = Script()
    asking.hear()
    asking.link.close(Failure(Slug.SHUTDOWN), asking.now)
    assert codes_of(asking.hear() + asking.wait(20)) == [Code.TERMINATE_REQUEST] * 2
    assert asking.end.why is Slug.SHUTDOWN


def test_first_reason_counts() -> None:
    pair = Pair().until(Ipv4Up)
    pair.server.link.close(Failure(Slug.IDLE_TIMEOUT), pair.sim.now)
    pair.server.link.close(Failure(Slug.ADMIN), pair.sim.now)
    pair.until_down()
    assert pair.server.why is Slug.IDLE_TIMEOUT


def test_reason_is_known_before_the_end() -> None:
    """The lower layer may go first, and its driver still wants to know why."""
    script = Script()
    assert script.link.reason is None
    script.say(Proto.LCP, Code.TERMINATE_REQUEST, 1, bytes.fromhex("08dd6215003ccd74000002e6"))
    assert script.link.reason == Failure(Slug.ENCRYPTION_LOCAL, "the client says 742")
    script.lcp()
    assert script.link.reason is None
    script.link.close(Failure(Slug.ADMIN), script.now)
    assert script.link.reason == Failure(Slug.ADMIN)
    script.wait(10)
    assert script.end.why is Slug.ADMIN


def test_both_hang_up_at_once() -> None:
    pair = Pair().until(Ipv4Up)
    pair.server.link.close(Failure(Slug.SHUTDOWN), pair.sim.now)
    pair.client.link.close(Failure(Slug.USER_REQUEST), pair.sim.now)
    pair.until_down(limit=1)
    assert (pair.server.why, pair.client.why) == (Slug.SHUTDOWN, Slug.USER_REQUEST)


def test_nothing_follows_the_end_but_answers_to_terminate_requests() -> None:
    script = Script()
    script.authenticate()
    script.say(Proto.LCP, Code.TERMINATE_REQUEST, 3)
    count = len(script.end.events)
    assert script.say(Proto.LCP, Code.TERMINATE_REQUEST, 4) == [(Proto.LCP, Packet(Code.TERMINATE_ACK, 4))]
    assert script.say(Proto.LCP, Code.CONFIGURE_REQUEST, 5) == []
    script.raw(b"\x00")
    script.raw(Frame(Proto.IPCP, b"\x01\x01\x00\x04").emit())
    assert script.hear() == []
    assert script.wait(600) == []
    assert len(script.end.events) == count
    script.link.close(Failure(Slug.ADMIN), script.now)
    assert script.hear() == []
    assert len(script.end.events) == count


def test_lcp_that_starts_anew_takes_everything_down_and_up_again() -> None:
    pair = Pair(server_config(encryption=Encryption.REQUIRED)).until(Ipv4Up)
    pair.client.link._lcp.receive(Packet(Code.CONFIGURE_REQUEST, 77, b"\x05\x06\x01\x02\x03\x04").emit(), pair.sim.now)
    pair.client.link._settle(pair.sim.now)
    pair.sim.run_until(lambda: len(pair.server.all(Ipv4Up)) == 2 == len(pair.client.all(Ipv4Up)), limit=30)
    assert len(pair.server.all(Authenticated)) == 2
    assert pair.server.all(MppeUp)[0] != pair.server.all(MppeUp)[1]


def test_endless_restarts_are_ended() -> None:
    script = Script(server_config(auth_methods=()), Store())
    script.lcp()
    for number in range(2, 40):
        if script.end.down:
            break
        script.negotiate(Proto.LCP, (), number)
        script.wait(0.1)
    script.wait(10)
    assert script.end.why is Slug.LCP_NOT_CONVERGING


def test_identification_of_windows_is_passed_on() -> None:
    from headrace.ppp.events import Identification

    script = Script()
    script.lcp()
    for number, text in enumerate((b"MSRASV5.20", b"MSRAS-0-LAPTOP", b"\x01\x02\xff\x00"), start=2):
        assert script.say(Proto.LCP, Code.IDENTIFICATION, number, script.magic + text) == []
    assert [event.text for event in script.end.all(Identification)][:2] == ["MSRASV5.20", "MSRAS-0-LAPTOP"]
    assert all(event.text.isprintable() for event in script.end.all(Identification))
    for _ in range(100):
        script.say(Proto.LCP, Code.IDENTIFICATION, 9, script.magic + b"again")
    assert len(script.end.all(Identification)) == 8


def test_a_whole_session_of_a_windows_client() -> None:
    """Habits of Windows: callback asked for, three Identification packets, IPV6CP and CCP beside IPCP, five IPCP options."""
    script = Script(server_config())
    script.hear()
    wanted = (Option(1, b"\x05\x78"), Option(5, script.magic), Option(7), Option(8), Option(13, b"\x06"))
    ((_, reject),) = script.say(Proto.LCP, Code.CONFIGURE_REQUEST, 0, wanted)
    assert (reject.code, reject.data) == (Code.CONFIGURE_REJECT, wanted[4].emit())
    request = script.asked(Proto.LCP)
    script.say(Proto.LCP, Code.CONFIGURE_ACK, request.identifier, request.data)
    heard = script.say(Proto.LCP, Code.CONFIGURE_REQUEST, 1, wanted[:4])
    assert [(number, packet.code) for number, packet in heard] == [(Proto.LCP, Code.CONFIGURE_ACK), (Proto.CHAP, 1)]
    for number, text in enumerate((b"MSRASV5.20", b"MSRAS-0-LAPTOP", bytes(20)), start=2):
        assert script.say(Proto.LCP, Code.IDENTIFICATION, number, script.magic + text) == []
    challenge = heard[1][1]
    heard = script.say(Proto.CHAP, 2, challenge.identifier, script.respond(challenge, b"LAPTOP\\alice"))
    assert [(number, packet.code) for number, packet in heard] == [(Proto.CHAP, 3), (Proto.IPCP, 1)]
    heard = script.say(Proto.IPV6CP, Code.CONFIGURE_REQUEST, 5, (Option(1, bytes(7) + b"\x01"),))
    assert [(number, packet.code) for number, packet in heard] == [(Proto.LCP, Code.PROTOCOL_REJECT)]
    asked = tuple(Option(number, bytes(4)) for number in (3, 129, 130, 131, 132))
    ((_, reject),) = script.say(Proto.IPCP, Code.CONFIGURE_REQUEST, 6, asked)
    ((_, nak),) = script.say(Proto.IPCP, Code.CONFIGURE_REQUEST, 7, asked[:4])
    ((_, ack),) = script.say(Proto.IPCP, Code.CONFIGURE_REQUEST, 8, nak.data)
    assert (reject.code, nak.code, ack.code) == (4, 3, 2)
    ours = script.asked(Proto.IPCP)
    script.say(Proto.IPCP, Code.CONFIGURE_ACK, ours.identifier, ours.data)
    assert script.end.one(Ipv4Up) == Ipv4Up(LOCAL, REMOTE, DNS, WINS)
    hang_up = script.magic + bytes.fromhex("003ccd7400000000")
    assert script.say(Proto.LCP, Code.TERMINATE_REQUEST, 9, hang_up) == [(Proto.LCP, Packet(Code.TERMINATE_ACK, 9))]
    assert script.end.why is Slug.USER_REQUEST
