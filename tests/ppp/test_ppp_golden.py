"""Frames of a real pppd: read, answered as pppd answered them, and decrypted. See ``tests/vectors/ppp/ORIGIN.md``."""

from __future__ import annotations

import pytest
from tests.ppp.harness import REMOTE, Script, client_config, golden, server_config

from headrace.errors import Slug
from headrace.model import Encryption
from headrace.ppp.chap import Value
from headrace.ppp.config import AuthMethod
from headrace.ppp.events import Ipv4Up, LcpUp, LinkDown, MppeUp
from headrace.ppp.frame import Code, Frame, Packet, Proto
from headrace.ppp.mppe import next_key, rc4, session_key, start_keys
from headrace.ppp.mschap_crypto import authenticator_response, challenge_hash, nt_password_hash, nt_response
from headrace.ppp.option import KINDS, describe, emit_options, parse_options

NAMES = ["pppd-psk.txt", "pppd-mppe128.txt", "pppd-mppe_refused.txt"]
NT_HASH = nt_password_hash("wonderland")


def exchange(name: str) -> tuple[bytes, Value, bytes]:
    """Challenge, response and the text of Success."""
    packets = [Packet.parse(frame.information, "chap") for _, frame in golden(name) if frame.protocol == Proto.CHAP]
    assert [packet.code for packet in packets] == [1, 2, 3]
    return Value.parse(packets[0].data).value, Value.parse(packets[1].data), packets[2].data


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_is_read_and_written(name: str) -> None:
    for _, frame in golden(name):
        if frame.protocol >= 0x8000:
            packet = Packet.parse(frame.information, "test")
            assert packet.emit() == frame.information
            if packet.code <= Code.CONFIGURE_REJECT and frame.protocol in KINDS:
                options = parse_options(packet.data, "test")
                assert emit_options(options) == packet.data
                assert describe(frame.protocol, options).isprintable()


def test_pppd_in_words() -> None:
    first = Packet.parse(golden(NAMES[1])[1][1].information, "test")
    assert describe(Proto.LCP, parse_options(first.data, "test")) == "<mru 1400> <accm 00000000> <auth c22381> <magic 9ac9206b>"


@pytest.mark.parametrize("name", NAMES)
def test_proofs_of_pppd(name: str) -> None:
    challenge, response, success = exchange(name)
    challenge8 = challenge_hash(response.value[:16], challenge, response.name)
    proof = nt_response(NT_HASH, challenge8)
    assert response.value[24:48] == proof
    assert success.split()[0].decode() == authenticator_response(NT_HASH, proof, challenge8)


def test_mppe_of_linux_is_decrypted() -> None:
    """Stateless, 128 bits: the key changes before every packet, the first one included."""
    _, response, _ = exchange(NAMES[1])
    send, receive = start_keys(NT_HASH, response.value[24:48], server=True)
    seen = {"server": 0, "client": 0}
    keys = {"server": (send, session_key(send, 128)), "client": (receive, session_key(receive, 128))}
    for who, frame in golden(NAMES[1]):
        if frame.protocol != Proto.COMPRESSED:
            continue
        assert int.from_bytes(frame.information[:2], "big") == 0x9000 | seen[who]
        start, current = keys[who]
        current = next_key(start, current, 128)
        keys[who] = (start, current)
        seen[who] += 1
        inner = Frame.parse(rc4(current, frame.information[2:]))
        assert inner.protocol in {Proto.IPV4, Proto.IPV6}
        assert inner.information[0] >> 4 == (4 if inner.protocol == Proto.IPV4 else 6)
    assert seen == {"server": 3, "client": 3}


def replay(name: str, role: str) -> Script:
    """Our link in place of one of the two pppd: it hears the other one's frames, except for answers, which are made to fit."""
    client = client_config(auth_methods=(AuthMethod.MSCHAP_V2,), mppe_bits=(128,), want_dns=False)
    if name == NAMES[1]:
        policy = Encryption.REQUIRED
    else:
        policy = Encryption.REQUIRED if role == "server" and name == NAMES[2] else Encryption.OFF
    config = server_config(name="lns", mppe_bits=(128,), encryption=policy) if role == "server" else client
    script = Script(config)
    script.other = "client" if role == "server" else "server"  # type: ignore[attr-defined]
    return script


def test_our_server_answers_pppd_as_pppd_did() -> None:
    """LCP, CCP and IPCP of the client get byte for byte what the real server gave: same Acks, same Nak with the address."""
    script = replay(NAMES[1], "server")
    frames = golden(NAMES[1])
    answers = {
        (frame.protocol, frame.information[1], frame.information[0]): frame.information
        for who, frame in frames
        if who == "server"
    }
    script.hear()
    compared = 0
    for who, frame in frames:
        if who != "client" or frame.protocol not in {Proto.LCP, Proto.CCP, Proto.IPCP} or frame.information[0] != 1:
            continue
        if frame.protocol == Proto.CCP:
            challenge = next(f for f in script.end.sent if f.protocol == Proto.CHAP)
            packet = Packet.parse(challenge.information, "x")
            script.say(Proto.CHAP, 2, packet.identifier, script.respond(packet))
        script.raw(frame.emit())
        heard = script.hear()
        request = script.asked(frame.protocol)
        heard += script.say(frame.protocol, Code.CONFIGURE_ACK, request.identifier, request.data)
        (ours,) = [packet for number, packet in heard if number == frame.protocol and packet.code in {2, 3, 4}]
        assert ours.emit() == answers[frame.protocol, frame.information[1], ours.code]
        compared += 1
    assert compared == 4
    assert script.end.has(LcpUp)
    assert script.end.has(MppeUp)
    assert script.end.one(Ipv4Up).remote == REMOTE


def test_our_server_refuses_the_client_that_refuses_mppe() -> None:
    script = replay(NAMES[2], "server")
    script.authenticate()
    for who, frame in golden(NAMES[2]):
        if who == "client" and frame.protocol in {Proto.CCP, Proto.IPCP, Proto.IPV6CP}:
            information = frame.information
            if frame.protocol == Proto.CCP and information[0] == Code.CONFIGURE_REJECT:
                information = Packet(Code.CONFIGURE_REJECT, script.asked(Proto.CCP).identifier, information[4:]).emit()
            script.raw(Frame(frame.protocol, information).emit())
    heard = script.hear()
    terminate = next(packet for number, packet in heard if number == Proto.LCP and packet.code == Code.TERMINATE_REQUEST)
    assert terminate.data[4:].hex() == "003ccd74000002e6"
    script.say(Proto.LCP, Code.TERMINATE_ACK, terminate.identifier)
    assert script.end.one(LinkDown).failure.slug is Slug.ENCRYPTION_REFUSED
    assert not script.end.has(Ipv4Up)


def test_our_client_is_turned_away_by_the_server_of_pppd() -> None:
    script = replay(NAMES[2], "client")
    frames = [frame for who, frame in golden(NAMES[2]) if who == "server"]
    script.negotiate(Proto.LCP, parse_options(frames[0].information[4:], "x"))
    challenge = next(frame for frame in frames if frame.protocol == Proto.CHAP)
    script.raw(challenge.emit())
    ((_, response),) = script.hear()
    value = Value.parse(response.data)
    challenge8 = challenge_hash(value.value[:16], Value.parse(challenge.information[4:]).value, value.name)
    proof = authenticator_response(NT_HASH, value.value[24:48], challenge8).encode()
    script.say(Proto.CHAP, 3, response.identifier, proof + b" M=Access granted")
    assert script.link.peer_name == "lns"
    for frame in frames:
        if frame.protocol in {Proto.CCP, Proto.IPCP, Proto.IPV6CP} or frame.information[0] == Code.TERMINATE_REQUEST:
            script.raw(frame.emit())
    script.hear()
    down = script.end.one(LinkDown)
    assert down.failure.slug is Slug.ENCRYPTION_REFUSED
    assert down.failure.detail == 'the server says "MPPE required but peer refused"'
    assert down.by_peer
