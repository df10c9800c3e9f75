"""IPCP: addresses and name servers, both roles."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from tests.ppp.harness import DNS, LOCAL, REMOTE, WINS, Pair, Script, Store, client_config, codes, options_of

from headrace.errors import Slug
from headrace.ppp.config import AuthAccept
from headrace.ppp.events import Ipv4Down, Ipv4Up, LinkDown
from headrace.ppp.frame import Code, Frame, Packet, Proto
from headrace.ppp.ipcp import usable
from headrace.ppp.option import Option, parse_options


def packed(address: str | IPv4Address) -> bytes:
    return IPv4Address(address).packed


def server(store: Store | None = None) -> Script:
    script = Script(store=store)
    script.heard = script.authenticate()  # type: ignore[attr-defined]
    return script


def client(**changes: object) -> Script:
    """A client past authentication, by a peer that asks for none."""
    script = Script(client_config(credentials=None, **changes))
    script.heard = script.lcp()  # type: ignore[attr-defined]
    return script


def answer_to(script: Script, *options: Option) -> Packet:
    heard = script.say(Proto.IPCP, Code.CONFIGURE_REQUEST, 9, options)
    (answer,) = [packet for number, packet in heard if number == Proto.IPCP and packet.code in {2, 3, 4}]
    return answer


def test_what_windows_asks_for() -> None:
    """3, 129 to 132 with zeros; a second WINS server that nobody has is rejected first, then all is named at once."""
    script = server()
    asked = tuple(Option(number, bytes(4)) for number in (3, 129, 130, 131, 132))
    answer = answer_to(script, *asked)
    assert (answer.code, answer.data) == (Code.CONFIGURE_REJECT, asked[4].emit())
    answer = answer_to(script, *asked[:4])
    assert answer.code == Code.CONFIGURE_NAK
    given = parse_options(answer.data, "test")
    assert given == (
        Option(3, packed(REMOTE)),
        Option(129, packed(DNS[0])),
        Option(130, packed(WINS[0])),
        Option(131, packed(DNS[1])),
    )
    assert answer_to(script, *given).code == Code.CONFIGURE_ACK
    request = next(packet for number, packet in script.heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    assert options_of(request) == {3: packed(LOCAL)}
    script.say(Proto.IPCP, Code.CONFIGURE_ACK, request.identifier, request.data)
    assert script.end.one(Ipv4Up) == Ipv4Up(LOCAL, REMOTE, DNS, WINS)


def test_client_asks_in_the_order_of_windows() -> None:
    request = next(packet for number, packet in client(want_wins=True).heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    assert list(options_of(request)) == [3, 129, 130, 131, 132]
    request = next(packet for number, packet in client(want_dns=False).heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    assert list(options_of(request)) == [3]


@pytest.mark.parametrize("size", [0, 1, 3, 5, 7])
def test_address_of_a_wrong_length_is_rejected(size: int) -> None:
    assert answer_to(server(), Option(3, bytes(size))).code == Code.CONFIGURE_REJECT


ODD = ["0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1", "240.0.0.1", "0.0.0.7", str(LOCAL), "10.99.0.11", "192.168.1.1"]


def test_n147_addresses_that_a_client_may_not_have() -> None:
    for size in (0, 1, 3, 7):  # option lengths 2, 3, 5 and 9; lengths 0 and 1 are no option at all
        assert answer_to(server(), Option(3, bytes(size))).code == Code.CONFIGURE_REJECT
    for data in (b"\x03\x00", b"\x03\x01", b"\x03\x07" + bytes(4)):
        script = server()
        assert script.say(Proto.IPCP, Code.CONFIGURE_REQUEST, 9, data) == []
        assert script.drops() == ["ipcp_option"]
    for address in ODD:
        answer = answer_to(server(), Option(3, packed(address)))
        assert (answer.code, answer.data) == (Code.CONFIGURE_NAK, Option(3, packed(REMOTE)).emit())
    choosy = Store(grant=AuthAccept("alice", address=REMOTE, allow_any_address=True))
    for address in ODD:
        answer = answer_to(server(choosy), Option(3, packed(address)))
        own_choice = address in {"10.99.0.11", "192.168.1.1"}
        assert answer.code == (Code.CONFIGURE_ACK if own_choice else Code.CONFIGURE_NAK)


def test_own_choice_is_announced() -> None:
    script = server(Store(grant=AuthAccept("alice", address=REMOTE, allow_any_address=True)))
    answer_to(script, Option(3, packed("192.168.1.1")))
    request = next(packet for number, packet in script.heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    script.say(Proto.IPCP, Code.CONFIGURE_ACK, request.identifier, request.data)
    assert script.end.one(Ipv4Up).remote == IPv4Address("192.168.1.1")


def test_own_choice_without_a_grant() -> None:
    free = Store(grant=AuthAccept("alice", address=None, allow_any_address=True))
    assert answer_to(server(free), Option(3, packed("192.168.1.1"))).code == Code.CONFIGURE_ACK
    assert answer_to(server(free), Option(3, bytes(4))).code == Code.CONFIGURE_REJECT
    script = server(free)
    assert answer_to(script).code == Code.CONFIGURE_ACK
    request = next(packet for number, packet in script.heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    script.say(Proto.IPCP, Code.CONFIGURE_ACK, request.identifier, request.data)
    script.wait(10)
    assert script.end.why is Slug.IPCP_REFUSED
    assert not script.end.has(Ipv4Up)
    assert not script.end.has(Ipv4Down)


def test_peer_that_insists_on_an_address() -> None:
    script = server()
    answers = [answer_to(script, Option(3, packed("192.168.1.1"))).code for _ in range(5)]
    assert answers == [Code.CONFIGURE_NAK] * 5
    script.say(Proto.IPCP, Code.CONFIGURE_REQUEST, 9, (Option(3, packed("192.168.1.1")),))
    script.wait(10)
    down = script.end.one(LinkDown)
    assert down.failure.slug is Slug.ADDRESS_CONFLICT
    assert "192.168.1.1" in down.failure.detail


def test_peer_that_asks_for_no_address_is_told_one() -> None:
    script = server()
    answer = answer_to(script, Option(129, bytes(4)))
    assert options_of(answer) == {3: packed(REMOTE), 129: packed(DNS[0])}


def test_n148_what_nobody_has_is_rejected() -> None:
    bare = Store(grant=AuthAccept("alice", address=REMOTE))
    for options in (
        tuple(Option(number, bytes(4)) for number in (129, 130, 131, 132)),
        (Option(2, b"\x00\x2d\x00\x00"),),
        (Option(2, b"\x00\x2d\xff\x01"),),
        (Option(1, bytes(8)),),
        (Option(144, bytes(4)),),
    ):
        answer = answer_to(server(bare), Option(3, packed(REMOTE)), *options)
        assert answer.code == Code.CONFIGURE_REJECT
        assert parse_options(answer.data, "test") == options


def test_n149_no_address_to_give() -> None:
    empty = Store(grant=AuthAccept("alice", address=None, address_failure="pool office is empty (254 of 254)"))
    script = server(empty)
    assert codes(script.heard, Proto.IPCP) == []  # type: ignore[attr-defined]
    ((protocol, reject),) = script.say(Proto.IPCP, Code.CONFIGURE_REQUEST, 1, (Option(3, bytes(4)),))
    assert (protocol, reject.code, reject.data[:2]) == (Proto.LCP, Code.PROTOCOL_REJECT, b"\x80\x21")
    heard = script.wait(10)
    assert codes(heard, Proto.LCP) == [Code.TERMINATE_REQUEST] * 2
    assert heard[0][1].data[8:] == (717).to_bytes(4, "big")
    down = script.end.one(LinkDown)
    assert (down.failure.slug, down.failure.detail) == (Slug.POOL_EMPTY, "pool office is empty (254 of 254)")


def test_no_address_and_the_client_gives_up_first() -> None:
    pair = Pair(store=Store(grant=AuthAccept("alice", address_failure="none left"))).until_down()
    assert pair.client.why is Slug.IPCP_REFUSED  # 720 on its screen
    assert pair.server.why is Slug.POOL_EMPTY
    assert pair.server.one(LinkDown).by_peer


def test_no_address_and_nobody_asks() -> None:
    script = server(Store(grant=AuthAccept("alice")))
    script.wait(100)
    assert script.end.why is Slug.POOL_EMPTY


@pytest.mark.parametrize("how", ["protocol", "code"])
def test_peer_without_ipv4(how: str) -> None:
    script = server()
    if how == "protocol":
        script.say(Proto.LCP, Code.PROTOCOL_REJECT, 1, b"\x80\x21\x01\x01\x00\x04")
    else:
        script.say(Proto.IPCP, Code.CODE_REJECT, 1, Packet(1, 1).emit())
    script.wait(10)
    assert script.end.why is Slug.IPCP_REFUSED


def test_peer_that_does_not_answer_ipcp() -> None:
    script = server()
    script.wait(100)
    assert script.end.why is Slug.IPCP_REFUSED
    assert "none received" in script.end.one(LinkDown).failure.detail


def test_peer_that_ends_ipcp() -> None:
    pair = Pair().until(Ipv4Up)
    pair.client.link._ncps[Proto.IPCP].close(pair.sim.now)
    pair.run(1)
    assert pair.server.has(Ipv4Down)
    pair.until_down()
    assert pair.server.why is Slug.IPCP_REFUSED


def test_peer_that_ends_ipcp_and_stays() -> None:
    script = server()
    request = next(packet for number, packet in script.heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    answer_to(script, Option(3, packed(REMOTE)))
    script.say(Proto.IPCP, Code.CONFIGURE_ACK, request.identifier, request.data)
    assert script.say(Proto.IPCP, Code.TERMINATE_REQUEST, 7) == [(Proto.IPCP, Packet(Code.TERMINATE_ACK, 7))]
    assert script.end.has(Ipv4Down)
    script.wait(10)
    assert script.end.one(LinkDown).failure.detail == "ipcp: the peer sent a Terminate-Request"


def test_ipcp_that_starts_anew_for_ever() -> None:
    script = server()
    for number in range(100):
        script.say(Proto.IPCP, Code.CONFIGURE_REQUEST, number, (Option(3, packed(REMOTE)),))
        request = script.asked(Proto.IPCP)
        script.say(Proto.IPCP, Code.CONFIGURE_ACK, request.identifier, request.data)
    script.wait(10)
    assert script.end.why is Slug.IPCP_REFUSED
    assert len(script.end.all(Ipv4Up)) == 65


def test_name_server_that_the_client_insists_on() -> None:
    script = server()
    wrong = (Option(3, packed(REMOTE)), Option(129, packed("9.9.9.9")))
    answers = [answer_to(script, *wrong) for _ in range(6)]
    assert [answer.code for answer in answers] == [Code.CONFIGURE_NAK] * 5 + [Code.CONFIGURE_REJECT]
    assert answers[-1].data == wrong[1].emit()


def test_ipcp_may_start_anew() -> None:
    script = server()
    heard = script.negotiate(Proto.IPCP, (Option(3, packed(REMOTE)),))
    request = next(packet for number, packet in script.heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    script.say(Proto.IPCP, Code.CONFIGURE_ACK, request.identifier, request.data)
    assert script.end.has(Ipv4Up)
    heard = script.say(Proto.IPCP, Code.CONFIGURE_REQUEST, 2, (Option(3, packed(REMOTE)),))
    assert codes(heard, Proto.IPCP) == [1, 2]
    script.say(Proto.IPCP, Code.CONFIGURE_ACK, heard[0][1].identifier, heard[0][1].data)
    assert script.end.order(Ipv4Up, Ipv4Down) == [Ipv4Up, Ipv4Down, Ipv4Up]


# --- client -------------------------------------------------------------------------------------------------------------------


def test_client_takes_what_it_is_given() -> None:
    script = client()
    request = next(packet for number, packet in script.heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    values = (Option(3, packed(REMOTE)), Option(129, packed(DNS[0])), Option(131, bytes(4)), Option(130, packed(WINS[0])))
    ((_, again),) = script.say(Proto.IPCP, Code.CONFIGURE_NAK, request.identifier, values)
    assert options_of(again) == {3: packed(REMOTE), 129: packed(DNS[0])}  # zero is none, and WINS was not asked for
    script.say(Proto.IPCP, Code.CONFIGURE_ACK, again.identifier, again.data)
    assert answer_to(script, Option(3, packed(LOCAL))).code == Code.CONFIGURE_ACK
    assert script.end.one(Ipv4Up) == Ipv4Up(REMOTE, LOCAL, (DNS[0],), ())


@pytest.mark.parametrize("address", ["0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1", "240.1.1.1"])
def test_client_does_not_take_nonsense(address: str) -> None:
    script = client()
    request = next(packet for number, packet in script.heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    ((_, again),) = script.say(Proto.IPCP, Code.CONFIGURE_NAK, request.identifier, (Option(3, packed(address)),))
    assert options_of(again)[3] == bytes(4)
    if address == "0.0.0.0":
        assert answer_to(script, Option(3, packed(address))).code == Code.CONFIGURE_REJECT


def test_client_that_is_given_nothing() -> None:
    rejected = client()
    request = next(packet for number, packet in rejected.heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    rejected.say(Proto.IPCP, Code.CONFIGURE_REJECT, request.identifier, (Option(3, bytes(4)),))
    rejected.wait(10)
    assert rejected.end.why is Slug.IPCP_REFUSED
    acked = client()
    request = next(packet for number, packet in acked.heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    acked.say(Proto.IPCP, Code.CONFIGURE_ACK, request.identifier, request.data)
    answer_to(acked)
    acked.wait(10)
    assert acked.end.why is Slug.IPCP_REFUSED
    naked = client()
    heard = naked.heard  # type: ignore[attr-defined]
    for _ in range(20):
        requests = [packet for number, packet in heard if number == Proto.IPCP and packet.code == 1]
        if not requests:
            break
        heard = naked.say(Proto.IPCP, Code.CONFIGURE_NAK, requests[0].identifier, (Option(3, bytes(4)),))
    naked.wait(10)
    assert naked.end.why is Slug.IPCP_REFUSED


def test_client_with_an_address_of_its_own() -> None:
    script = client(local_address=IPv4Address("10.5.5.5"))
    request = next(packet for number, packet in script.heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    assert options_of(request)[3] == packed("10.5.5.5")
    script.say(Proto.IPCP, Code.CONFIGURE_NAK, request.identifier, (Option(3, packed(REMOTE)),))
    script.wait(10)
    assert script.end.why is Slug.ADDRESS_CONFLICT


def test_server_that_does_not_say_its_address() -> None:
    script = client()
    request = next(packet for number, packet in script.heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    ((_, again),) = script.say(
        Proto.IPCP, Code.CONFIGURE_REJECT, request.identifier, (Option(129, bytes(4)), Option(131, bytes(4)))
    )
    assert list(options_of(again)) == [3]
    ((_, again),) = script.say(Proto.IPCP, Code.CONFIGURE_NAK, again.identifier, (Option(3, packed(REMOTE)), Option(3, b"x")))
    script.say(Proto.IPCP, Code.CONFIGURE_ACK, again.identifier, again.data)
    assert answer_to(script).code == Code.CONFIGURE_ACK
    assert script.end.one(Ipv4Up) == Ipv4Up(REMOTE, IPv4Address(0), (), ())


def test_peer_that_does_not_care_who_the_server_is() -> None:
    script = server()
    request = next(packet for number, packet in script.heard if number == Proto.IPCP)  # type: ignore[attr-defined]
    ((_, same),) = script.say(Proto.IPCP, Code.CONFIGURE_NAK, request.identifier, (Option(3, packed("10.1.1.1")),))
    assert same.data == request.data
    ((_, again),) = script.say(Proto.IPCP, Code.CONFIGURE_REJECT, same.identifier, (Option(3, packed(LOCAL)),))
    assert again.data == b""


def test_n150_protocols_that_nobody_configured() -> None:
    """IPV6CP is among them here. Each gets its Protocol-Reject, and nothing else happens."""
    script = server()
    for number in (
        Proto.IPV6CP,
        Proto.CCP_LINK,
        Proto.ECP,
        Proto.BACP,
        Proto.BAP,
        Proto.IPXCP,
        Proto.CBCP,
        Proto.LQR,
        Proto.MULTILINK,
    ):
        script.raw(Frame(number, Packet(1, 1, bytes((1, 10)) + bytes(8)).emit()).emit())
        ((protocol, reject),) = script.hear()
        assert (protocol, reject.code) == (Proto.LCP, Code.PROTOCOL_REJECT)
        assert reject.data[:2] == number.to_bytes(2, "big")
    assert not script.end.down


def test_n151_forms_that_were_not_negotiated() -> None:
    """Van Jacobson compression is never agreed on, so its frames are dropped; a compressed protocol is read all the same."""
    script = server()
    for frame in (b"\x00\x2d" + bytes(40), b"\x2d" + bytes(40), b"\x00\x2f" + bytes(40), b"\xff\x03\x2f" + bytes(40)):
        script.raw(frame)
    assert script.hear() == []
    assert script.drops() == ["ppp_not_open"] * 4


def test_usable() -> None:
    assert usable(IPv4Address("10.0.0.0"))
    assert not usable(IPv4Address("0.1.2.3"))
