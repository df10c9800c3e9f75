"""What is refused in EAP, by whom, with which reason: certificates, identities, bindings, fragments, and peers without manners."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.pki import kit
from tests.ppp.eap_kit import (
    EapStore,
    authority,
    certificate,
    client_tls,
    eap_client,
    eap_server,
    now,
    pair,
    server_tls,
    upn,
    user_certificate,
)
from tests.ppp.harness import Script

from headrace.errors import Slug
from headrace.ppp import peap
from headrace.ppp.config import AuthAccept, AuthContinue, AuthMethod, AuthReject
from headrace.ppp.eap import EapPacket, emit_nak, parse_nak
from headrace.ppp.eap_fragment import Fragments
from headrace.ppp.events import Authenticated, AuthRequest, Ipv4Up, LinkDown
from headrace.ppp.frame import Frame, Proto
from headrace.ppp.option import Option
from headrace.wire import Malformed, Reader

M = AuthMethod
DAY = timedelta(days=1)


def user(**wishes: object) -> kit.Made:
    return certificate(authority(), **{"name": "alice", "purposes": ("client",), **wishes})


def server(**wishes: object) -> kit.Made:
    return certificate(
        authority("Servers' CA"),
        **{"name": "vpn.example.net", "names": ("vpn.example.net",), "purposes": ("server",), **wishes},
    )


# --- certificates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize(
    ("make", "slug"),
    [
        (lambda: user(end=now() - DAY), Slug.USER_CERT_EXPIRED),
        (lambda: user(start=now() + DAY), Slug.USER_CERT_INVALID),
        (lambda: user(purposes=("server",)), Slug.USER_CERT_OTHER),
        (lambda: certificate(authority("Stranger"), name="alice", purposes=("client",)), Slug.USER_CERT_CA),
        (lambda: certificate(None, name="alice", purposes=("client",)), Slug.USER_CERT_CA),
    ],
    ids=["expired", "early", "purpose", "stranger", "self-signed"],
)
def test_users_certificate_that_is_not_taken(make: Callable[[], kit.Made], slug: Slug, version: str) -> None:
    own = client_tls(make())
    both = pair(
        eap_server(M.EAP_TLS, tls=server_tls(minimum=version, maximum=version)), eap_client(M.EAP_TLS, tls=own)
    ).until_down()
    assert both.server.why is slug
    assert both.client.why in {slug, Slug.USER_CERT_OTHER}
    assert both.server.down is not None
    assert "alice" in both.server.down.failure.detail
    assert not both.server.has(Authenticated)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_revoked_user(version: str) -> None:
    gone = user()
    lists = [kit.crl(authority(), [gone], start=now() - DAY, end=now() + DAY)]
    factory = server_tls(minimum=version, maximum=version, crls=lists)
    both = pair(eap_server(M.EAP_TLS, tls=factory), eap_client(M.EAP_TLS, tls=client_tls(gone))).until_down()
    assert both.server.why is Slug.USER_CERT_REVOKED
    assert both.client.why is Slug.USER_CERT_REVOKED
    pair(eap_server(M.EAP_TLS, tls=factory), eap_client(M.EAP_TLS)).until(Ipv4Up)


def test_standing_unknown() -> None:
    late = [kit.crl(authority(), start=now() - 9 * DAY, end=now() - DAY)]
    pair(eap_server(M.EAP_TLS, tls=server_tls(crls=late)), eap_client(M.EAP_TLS)).until(Ipv4Up)
    strict = eap_server(M.EAP_TLS, tls=server_tls(crls=late, crl_policy="strict"))
    assert pair(strict, eap_client(M.EAP_TLS)).until_down().server.why in {Slug.USER_CERT_OTHER, Slug.USER_CERT_INVALID}
    assert pair(eap_server(M.EAP_TLS, tls=server_tls(crl_policy="strict")), eap_client(M.EAP_TLS)).until_down().server.why


@pytest.mark.parametrize("method", [M.EAP_TLS, M.PEAP])
@pytest.mark.parametrize(
    ("make", "slug", "told"),
    [
        (lambda: server(end=now() - DAY), Slug.SERVER_CERT_EXPIRED, Slug.SERVER_CERT_EXPIRED),
        (lambda: server(purposes=("client",)), Slug.SERVER_CERT_OTHER, Slug.SERVER_CERT_OTHER),
        (lambda: server(names=("other.example.net",)), Slug.SERVER_CERT_NAME, Slug.SERVER_CERT_OTHER),
        (
            lambda: certificate(authority("Stranger"), name="x", names=("vpn.example.net",)),
            Slug.SERVER_CERT_CA,
            Slug.SERVER_CERT_CA,
        ),
    ],
    ids=["expired", "purpose", "name", "stranger"],
)
def test_servers_certificate_that_is_not_taken(
    make: Callable[[], kit.Made], slug: Slug, told: Slug, method: AuthMethod
) -> None:
    store = EapStore()
    both = pair(eap_server(method, tls=server_tls(make())), eap_client(method), store).until_down()
    assert both.client.why is slug
    assert both.server.why is told
    assert all(request.method is M.EAP for request in store.asked)  # no proof of the user's has left


def test_client_without_a_certificate() -> None:
    both = pair(eap_server(M.EAP_TLS), eap_client(M.EAP_TLS, tls=client_tls())).until_down()
    assert both.server.why is Slug.EAP_NO_METHOD  # it does not even begin


def test_certificate_without_an_account() -> None:
    both = pair(eap_server(M.EAP_TLS), eap_client(M.EAP_TLS, tls=client_tls(user_certificate("mallory")))).until_down()
    assert both.server.why is Slug.USER_UNKNOWN
    assert both.client.why is Slug.AUTH_FAILED
    assert not both.client.has(Authenticated)


def test_facts_about_an_account_reach_the_client_by_the_number() -> None:
    store = EapStore(reject=AuthReject(Slug.ACCOUNT_DISABLED, "disabled"))
    both = pair(eap_server(M.EAP_TLS), eap_client(M.EAP_TLS), store).until_down()
    assert (both.server.why, both.client.why) == (Slug.ACCOUNT_DISABLED, Slug.ACCOUNT_DISABLED)


def test_no_common_version_of_tls() -> None:
    old = eap_server(M.PEAP, tls=server_tls(maximum="1.2"))
    new = eap_client(M.PEAP, tls=client_tls(minimum="1.3"))
    both = pair(old, new).until_down()
    assert both.server.why is Slug.EAP_TLS_FAILED
    assert both.client.why is Slug.EAP_TLS_FAILED


def test_intermediate_is_sent_along() -> None:
    sub = certificate(authority(), name="sub", key=kit.ec_key(7), ca=True, usage=kit.usage("key_cert_sign"))
    leaf = certificate(sub, name="alice", purposes=("client",), general_names=(upn("alice@corp.example"),))
    factory = client_tls(leaf)
    factory._certificate = dataclasses.replace(factory._certificate, chain=(leaf.der, sub.der))  # type: ignore[type-var]
    factory._contexts.clear()
    pair(eap_server(M.EAP_TLS), eap_client(M.EAP_TLS, tls=factory)).until(Ipv4Up)


# --- PEAP's binding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_binding_that_is_wrong(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    right = peap.binding

    def wrong(mac_key: bytes, nonce: bytes, *, response: bool) -> bytes:
        made = right(mac_key, nonce, response=response)
        return made[:-1] + bytes((made[-1] ^ response,))

    monkeypatch.setattr(peap, "binding", wrong)
    both = pair(eap_server(M.PEAP, tls=server_tls(maximum=version)), eap_client(M.PEAP)).until_down()
    assert both.server.why is Slug.PEAP_BINDING
    assert both.client.why in {Slug.PEAP_BINDING, Slug.AUTH_FAILED}


@pytest.mark.parametrize("demands", ["server", "client", "nobody"])
def test_binding_that_is_missing(monkeypatch: pytest.MonkeyPatch, demands: str) -> None:
    monkeypatch.setattr(peap, "binding", lambda *_args, **_kwargs: b"")
    both = pair(
        eap_server(M.PEAP, eap={"require_binding": demands == "server"}),
        eap_client(M.PEAP, eap={"require_binding": demands == "client"}),
    )
    if demands == "nobody":
        both.until(Ipv4Up)
        return
    both.until_down()
    assert (both.server if demands == "server" else both.client).why is Slug.PEAP_BINDING_MISSING


# --- a peer without manners -------------------------------------------------------------------------------------------------------


class Rude(Script):
    """A peer of a server that demands EAP."""

    def __init__(self, *methods: AuthMethod) -> None:
        super().__init__(eap_server(*methods), EapStore())
        (packet,) = [packet for number, packet in self.lcp() if number == Proto.EAP]
        self.last = EapPacket.parse(packet.emit())

    def eap(self, kind: int, data: bytes = b"", *, identifier: int | None = None, code: int = 2) -> list[EapPacket]:
        packet = EapPacket(code, self.last.identifier if identifier is None else identifier, kind, data)
        return self.raw_eap(packet.emit())

    def raw_eap(self, octets: bytes) -> list[EapPacket]:
        self.raw(Frame(Proto.EAP, octets).emit())
        heard = [EapPacket.parse(packet.emit()) for number, packet in self.hear() if number == Proto.EAP]
        if heard:
            self.last = heard[-1]
        return heard

    def identify(self) -> Rude:
        assert [packet.code for packet in self.eap(1, b"alice")] == [1]
        return self


def test_n144_packets_that_are_no_answer_change_nothing() -> None:
    rude = Rude(M.EAP_MSCHAP_V2).identify()
    for octets in (
        b"",
        b"\x02",
        bytes((2, rude.last.identifier, 0, 3)),
        bytes((2, rude.last.identifier, 0, 9, 26)),
        bytes((2, rude.last.identifier, 0, 4)),
        bytes((2, rude.last.identifier, 0, 5, 0)),
        bytes((9, rude.last.identifier, 0, 5, 26)),
        bytes((3, rude.last.identifier, 0, 4)),
        bytes((4, rude.last.identifier, 0, 4)),
        bytes((1, rude.last.identifier, 0, 5, 26)),
        bytes((2, rude.last.identifier ^ 1, 0, 6, 26, 3)),
        bytes((2, rude.last.identifier, 0, 6, 255, 3)),
    ):
        assert rude.raw_eap(octets) == []
    assert rude.drops() == [
        "eap_length", "eap_length", "eap_length", "eap_length", "eap_type", "eap_type",
        "eap_code", "eap_code", "eap_code", "eap_code", "eap_identifier", "eap_type",
    ]  # fmt: skip
    assert rude.end.down is None
    assert rude.wait(4) != []  # it still waits, and says so


@pytest.mark.parametrize(
    "data", [b"\x00\x01\x00\x04", b"\x06\x01\x00\x04", b"\xff", b"", b"\x02\x00\x00\x05\x31", b"\x02\x00\xff\xff", b"\x03"]
)
def test_n145_nonsense_in_mschap_ends_it(data: bytes) -> None:
    rude = Rude(M.EAP_MSCHAP_V2).identify()
    assert [packet.code for packet in rude.eap(26, data)] == [4]
    rude.wait(30)
    assert rude.end.why is Slug.EAP_PROTOCOL


@pytest.mark.parametrize(
    ("data", "slug"),
    [
        (b"\x80\xff\xff\xff\xff" + bytes(9), Slug.EAP_LIMIT),
        (b"\x80\x00\x00\x00\x02" + bytes(9), Slug.EAP_PROTOCOL),
        (b"\x80\x00", Slug.EAP_PROTOCOL),
        (b"\x40", Slug.EAP_PROTOCOL),
        (b"\x20", Slug.EAP_PROTOCOL),
        (b"\x01\x16\x03", Slug.EAP_PROTOCOL),
        (b"", Slug.EAP_PROTOCOL),
        (b"\x00", Slug.EAP_PROTOCOL),
        (b"\x00GET / HTTP/1.1\r\n\r\n", Slug.EAP_TLS_FAILED),
    ],
)
@pytest.mark.parametrize("method", [M.EAP_TLS, M.PEAP])
def test_n146_fragments_that_cannot_be(data: bytes, slug: Slug, method: AuthMethod) -> None:
    rude = Rude(method).identify()
    for _ in range(3):
        if rude.eap(rude.last.type or 13, data) and rude.last.code == 4:
            break
    rude.wait(30)
    assert rude.end.why is slug


@pytest.mark.parametrize("size", [1, 1000, 1390])
def test_n146_fragments_that_never_finish(size: int) -> None:
    rude = Rude(M.EAP_TLS).identify()
    for _ in range(100):
        (answer,) = rude.eap(13, b"\x40" + bytes(size))
        if answer.code == 4:
            break
        assert answer.data == b"\0"
    assert rude.last.code == 4
    rude.wait(30)
    assert rude.end.why is Slug.EAP_LIMIT


def test_naks_without_end() -> None:
    rude = Rude(M.EAP_TLS, M.PEAP, M.EAP_MSCHAP_V2, M.EAP_MD5).identify()
    seen = [rude.last.type]
    while rude.last.code == 1:
        rude.eap(3, bytes((4, 26, 25, 13)))
        seen.append(rude.last.type)
    assert seen == [13, 25, 26, 4, 0]
    rude.wait(30)
    assert rude.end.why is Slug.EAP_NO_METHOD


def test_nak_in_the_middle_is_ignored() -> None:
    rude = Rude(M.EAP_TLS, M.EAP_MD5).identify()
    rude.eap(13, b"\x40" + bytes(10))
    assert rude.eap(3, b"\x04") == []
    assert rude.drops() == ["eap_nak"]


def test_expanded_nak() -> None:
    rude = Rude(M.EAP_TLS, M.EAP_MD5).identify()
    answer = emit_nak(rude.last.identifier, 254, (4,))
    rude.raw_eap(answer.emit())
    assert rude.last.type == 4


def test_nobody_asks_a_proof_twice() -> None:
    rude = Rude(M.EAP_MD5)
    rude.end.store = None
    rude.eap(1, b"alice")
    assert rude.eap(1, b"alice") == []
    assert rude.drops() == ["eap_pending"]
    assert len(rude.end.all(AuthRequest)) == 1


def test_long_identity() -> None:
    rude = Rude(M.EAP_MD5)
    assert [packet.code for packet in rude.eap(1, b"x" * 257)] == [4]


# --- a client among rude servers --------------------------------------------------------------------------------------------------


class RudeServer(Script):
    """A server of a client that takes EAP."""

    def __init__(self, *methods: AuthMethod) -> None:
        super().__init__(eap_client(*methods))
        self.negotiate(Proto.LCP, (Option(5, self.magic), Option(3, b"\xc2\x27")))

    def eap(self, octets: bytes) -> list[EapPacket]:
        self.raw(Frame(Proto.EAP, octets).emit())
        return [EapPacket.parse(packet.emit()) for number, packet in self.hear() if number == Proto.EAP]


def test_success_before_anything_is_proved() -> None:
    rude = RudeServer(M.EAP_TLS, M.EAP_MSCHAP_V2)
    assert rude.eap(b"\x03\x01\x00\x04") == []
    (answer,) = rude.eap(EapPacket(1, 7, 1).emit())
    assert answer == EapPacket(2, 7, 1, b"alice")
    assert rude.eap(b"\x03\x07\x00\x04") == []
    (answer,) = rude.eap(EapPacket(1, 8, 13, b"\x20").emit())
    assert answer.type == 13
    assert rude.eap(b"\x03\x08\x00\x04") == []
    assert rude.drops() == ["eap_identifier", "eap_success", "eap_success"]
    assert not rude.end.has(Authenticated)


def test_repeated_request_gets_the_same_answer() -> None:
    rude = RudeServer(M.EAP_MSCHAP_V2)
    challenge = EapPacket(1, 3, 26, b"\x01\x03\x00\x17\x10" + bytes(16) + b"gw").emit()
    first = rude.eap(challenge)
    assert rude.eap(challenge) == first
    assert rude.eap(EapPacket(1, 4, 2, b"hello").emit()) == [EapPacket(2, 4, 2)]


def test_server_that_offers_for_ever() -> None:
    rude = RudeServer(M.EAP_MSCHAP_V2)
    for number in range(8):
        (answer,) = rude.eap(EapPacket(1, number, 4 if number % 2 else 21, b"\x10" + bytes(16)).emit())
        assert (answer.type, answer.data) == (3, b"\x1a")
    assert rude.eap(EapPacket(1, 99, 4, b"\x10" + bytes(16)).emit()) == []
    rude.wait(30)
    assert rude.end.why is Slug.EAP_NO_METHOD


def test_unknown_vendor_gets_an_expanded_nak() -> None:
    rude = RudeServer(M.EAP_MSCHAP_V2)
    (answer,) = rude.eap(EapPacket(1, 1, 254, bytes.fromhex("000137 00000021")).emit())
    assert answer.type == 254
    assert parse_nak(answer) == (26,)


# --- somebody else runs the method -----------------------------------------------------------------------------------------------


def test_pass_through_to_another_server() -> None:
    rude = Rude(M.EAP_TLS)
    rude.end.store = None
    rude.eap(1, b"alice@else.example")
    request = rude.end.all(AuthRequest)[-1]
    assert (request.method, request.username) == (M.EAP, b"alice@else.example")
    assert EapPacket.parse(request.response).data == b"alice@else.example"
    foreign = EapPacket(1, 77, 21, b"\x20")
    rude.link.auth_result(request.request, AuthContinue(foreign.emit()), rude.now)
    assert [EapPacket.parse(packet.emit()) for number, packet in rude.hear() if number == Proto.EAP] == [foreign]
    rude.last = foreign
    assert rude.eap(21, b"\x00hello") == []
    request = rude.end.all(AuthRequest)[-1]
    assert EapPacket.parse(request.response) == EapPacket(2, 77, 21, b"\x00hello")
    grant = AuthAccept("alice", mppe_send_key=b"s" * 16, mppe_recv_key=b"r" * 16)
    rude.link.auth_result(request.request, grant, rude.now)
    assert rude.hear()[0][1].emit() == EapPacket(3, 77).emit()
    assert rude.end.one(Authenticated) == Authenticated("alice", M.EAP)


def test_pass_through_is_bounded() -> None:
    rude = Rude(M.EAP_TLS)
    rude.end.store = None
    rude.eap(1, b"alice")
    for number in range(70):
        request = rude.end.all(AuthRequest)[-1]
        rude.link.auth_result(request.request, AuthContinue(EapPacket(1, number, 21, b"x").emit()), rude.now)
        rude.last = EapPacket(1, number, 21, b"x")
        rude.hear()
        rude.eap(21, b"y")
    rude.wait(30)
    assert rude.end.why is Slug.EAP_LIMIT


# --- fragments by themselves -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 89, 90, 91, 5000])
def test_fragments_come_together(size: int) -> None:
    message = bytes(range(256)) * 20
    out, back = Fragments(), Fragments()
    out.load(message[:size])
    whole = None
    for _ in range(200):
        piece = out.next(100)
        assert len(piece) <= 95
        reader = Reader(piece, "test")
        whole = back.take(reader.u8("flags"), reader)
        if not out.sending:
            break
        assert whole is None
    assert whole == message[:size]


def test_announced_length_may_not_change() -> None:
    back = Fragments()
    assert back.take(0xC0, Reader(b"\x00\x00\x00\x09abc", "test")) is None
    with pytest.raises(Malformed):
        back.take(0xC0, Reader(b"\x00\x00\x00\x0aabc", "test"))


def test_hanging_up_in_the_middle_is_no_mystery() -> None:
    both = pair(eap_server(M.EAP_TLS), eap_client(M.EAP_MD5))
    both.until(LinkDown)
    assert both.server.why is Slug.EAP_NO_METHOD


def test_user_may_take_his_time_over_a_certificate_but_not_for_ever() -> None:
    rude = Rude(M.PEAP).identify()
    rude.wait(60)
    assert rude.end.down is None
    rude.wait(60)
    assert rude.end.why is Slug.AUTH_TIMEOUT
