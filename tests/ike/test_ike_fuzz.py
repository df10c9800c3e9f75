"""Fuzzing with an invariant: whatever arrives, no exception leaves the endpoint, its state stays bounded, live SAs survive."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ike.harness import CLIENT, SERVER, Pair, cert_config, config, retell, seeded
from tests.ike.script import GOOD_PAYLOADS, Gateway, Script, esp_sa, esp_transform, message_1, phase1_sa

from headrace.ike import events
from headrace.ike.constants import PayloadType
from headrace.ike.message import Header, emit_chain
from headrace.model import Datagram, Endpoint

PLAIN = config("aes256-sha1-ecp256", dpd_delay=0.0)


def mutate(dice: random.Random, data: bytes, corpus: list[bytes]) -> bytes:
    octets = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        match dice.randrange(7):
            case 0 if octets:
                octets[dice.randrange(len(octets))] ^= 1 << dice.randrange(8)
            case 1 if octets:
                octets[dice.randrange(len(octets))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            case 2:
                del octets[dice.randrange(len(octets) + 1) :]
            case 3:
                octets += dice.randbytes(dice.randrange(1, 40))
            case 4 if len(octets) > 32:
                start = dice.randrange(28, len(octets))
                del octets[start : start + dice.randrange(1, 9)]
            case 5 if len(octets) > 32:
                start = dice.randrange(28, len(octets))
                octets[start:start] = dice.randbytes(dice.randrange(1, 9))
            case 6:
                other = dice.choice(corpus)
                cut = dice.randrange(min(len(other), len(octets)) + 1)
                octets = bytearray(octets[:cut] + other[cut:])
    if len(octets) >= 28 and dice.random() < 0.8:
        octets[24:28] = len(octets).to_bytes(4, "big")
    return bytes(octets)


def bounded(pair: Pair) -> None:
    for side in (pair.client, pair.server):
        ike = side.ike
        assert ike.stats().half_open <= 64
        assert len(ike._by_cookies) <= ike.stats().peers * 4 + 64
        assert ike._ctx._fragment_octets <= 64 * 2 * 65536
        for peer in ike._peers.values():
            for phase1 in peer.ikes:
                assert len(phase1.quick) <= 64


@pytest.mark.parametrize("seed", range(6))
def test_mutations_of_good_datagrams_into_live_endpoints(seed: int) -> None:
    dice = random.Random(seed)
    pair = Pair(PLAIN, PLAIN, seed=seed, client_nat=bool(seed % 2)).connect()
    pair.client.ike.rekey_child(pair.handle, pair.now)
    pair.server.ike.rekey_peer(pair.server_peer(), pair.now)
    pair.run(70)
    corpus = [d for _, _, d in pair.wire]
    raw = [d.data for d in corpus]
    peer = pair.server_peer()
    for number in range(1500):
        datagram = dice.choice(corpus)
        right = datagram.remote.address == SERVER
        arrived = pair._arrive(retell(datagram, mutate(dice, datagram.data, raw)))
        assert arrived is not None
        side = pair.server if right else pair.client
        side.ike.receive(arrived, pair.now)
        if number % 50 == 0:
            pair.run(0.5)
            bounded(pair)
    pair.run(100)
    bounded(pair)
    assert not pair.server.all(events.PeerDown) and not pair.client.all(events.PeerDown)
    assert not pair.server.all(events.PeerMoved)
    pair.client.ike.rekey_child(pair.handle, pair.now)
    pair.run(20)
    pair.traffic()
    assert pair.server.data.current[peer]


@pytest.mark.parametrize("seed", range(4))
def test_mutations_during_a_handshake(seed: int) -> Any:
    """The handshake may fail, but nothing breaks, and a new one works."""
    dice = random.Random(seed)
    corpus: list[bytes] = [b""]

    def tap(_now: float, _right: bool, d: Datagram) -> Datagram | None:
        corpus.append(d.data)
        return retell(d, mutate(dice, d.data, corpus)) if dice.random() < 0.3 else d

    make = cert_config if seed % 2 else config
    one, two = (make("client"), make("server")) if seed % 2 else (PLAIN, PLAIN)
    for attempt in range(12):
        pair = Pair(one, two, seed=100 * seed + attempt, tap=tap)
        pair.dial()
        pair.run(40)
        bounded(pair)
        pair._tap = None
        pair.run(400)
        assert not pair.server.ike._half_open
        if not pair.client.data.current:
            pair.dial()
            pair.run(60)
            assert pair.client.data.current


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_mutations_inside_the_encryption(seed: int, count: int) -> None:
    """A peer that is authenticated and malicious: its messages decrypt, and their HASH is right."""
    dice = random.Random(seed)
    script = Script(PLAIN, PLAIN)
    chains = [emit_chain(GOOD_PAYLOADS(script)), emit_chain([(PayloadType.DELETE, b"\0\0\0\1\3\4\0\1\1\2\3\4")])]
    for number in range(1, count + 1):
        chain = mutate(dice, dice.choice(chains), chains)
        value = script.channel.keys.hash_a(number.to_bytes(4, "big"), chain)
        body = emit_chain([(PayloadType.HASH, value)])
        first = dice.choice((PayloadType.SA, PayloadType.NOTIFY, PayloadType.DELETE, PayloadType.NONCE, 0, 132))
        text = bytes([first]) + body[1:] + chain
        ciphertext = script.channel.keys.encrypt(script.channel.iv(number), text)
        exchange = dice.choice((32, 32, 5))
        head = Header(*script.phase1.cookies, PayloadType.HASH, exchange, 1, number, 28 + len(ciphertext))
        script.say(head.emit() + ciphertext)
    assert len(script.server.data.inbound) <= 16
    assert script.server.ike.stats().peers <= 1


@given(data=st.binary(max_size=400), head=st.booleans())
def test_anything_at_all(data: bytes, head: bool) -> None:
    gateway = Gateway(PLAIN)
    if head and len(data) >= 28:
        data = data[:17] + b"\x10\x02" + data[19:24] + len(data).to_bytes(4, "big") + data[28:]
    answers = gateway.hear(data)
    assert sum(map(len, answers)) <= 2 * len(data)
    assert gateway.ike.stats().half_open <= 1


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=6))
def test_any_payloads_in_message_1(extra: Any) -> None:
    gateway = Gateway(PLAIN)
    sa = phase1_sa([(7, 256, 2, 19)])
    gateway.hear(message_1(sa.emit(), extra=extra))


def test_script_is_not_at_fault() -> None:
    script = Script(PLAIN, PLAIN)
    script.finish(script.answer_of(script.ask(GOOD_PAYLOADS(script))))
    assert script.server.all(events.ChildUp)
    assert esp_sa(esp_transform()) and seeded(1)(1) and Datagram(Endpoint(CLIENT, 1), Endpoint(SERVER, 2), b"")
