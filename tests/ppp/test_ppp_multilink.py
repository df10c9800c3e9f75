"""Multilink fragments: cut, mixed up, lost and doubled on the way, put together within bounds."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import dissect
from tests.ppp.harness import Pair, Script, client_config, options_of, server_config

from headrace.model import Encryption
from headrace.ppp.config import MultilinkConfig
from headrace.ppp.events import Ipv4Up, MultilinkOffered
from headrace.ppp.frame import Code, Packet, Proto
from headrace.ppp.multilink import FRAGMENTS_MAX, PATIENCE, Fragment, Receiver, Sender, Terms
from headrace.ppp.option import Option
from headrace.wire import Malformed

LONG, SHORT = Terms(1500, 1500), Terms(1500, 1500, short_in=True, short_out=True)


def receiver(terms: Terms = LONG, links: int = 2) -> Receiver:
    made = Receiver(terms)
    for link in range(links):
        made.join(link)
    return made


def fragment(number: int, flags: str, data: bytes = b"x") -> bytes:
    return Fragment(number, "B" in flags, "E" in flags, data).emit(short=False)


@pytest.mark.parametrize("terms", [LONG, SHORT])
@given(
    st.lists(st.integers(1, 1500).map(lambda size: bytes([size % 251]) * size), max_size=20),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_what_is_cut_comes_together_however_the_links_race(terms: Terms, frames: list[bytes], links: int, seed: int) -> None:
    sender, made = Sender(terms), receiver(terms, links)
    queues: list[list[bytes]] = [[] for _ in range(links)]
    for frame in frames:
        for link, piece in sender.cut(frame, [300] * links):
            assert len(piece) <= 300
            queues[link].append(piece)
    source, got = random.Random(seed), []
    while any(queues):
        link = source.choice([n for n, queue in enumerate(queues) if queue])
        got += made.receive(link, queues[link].pop(0), 0.0)
    assert got == frames
    assert made.drops == []
    assert made.deadline() is None


@given(st.integers(0, 2**32), st.floats(0.01, 0.3))
@settings(max_examples=40, deadline=None)
def test_losses_cost_the_frames_that_they_hit_and_no_others(seed: int, loss: float) -> None:
    source = random.Random(seed)
    sender, made = Sender(LONG), receiver()
    sent, whole, got = [], [], []
    for number in range(60):
        frame = bytes([number]) * source.randrange(1, 600)
        sent.append(frame)
        pieces = [(link, piece, source.random() < loss) for link, piece in sender.cut(frame, [200, 200])]
        if not any(lost for *_, lost in pieces):
            whole.append(frame)
        for link, piece, lost in pieces:
            if not lost:
                got += made.receive(link, piece, number / 100)
    got += made.tick(100.0)
    got += made.tick(200.0)
    got += made.tick(300.0)
    assert [frame for frame in sent if frame in got] == got, "in order, nothing made up"
    assert len(got) >= len(whole) - 3


def test_numbers_go_round() -> None:
    sender, made = Sender(SHORT), receiver(SHORT, 1)
    for number in range(5000):
        ((_, piece),) = sender.cut(number.to_bytes(2, "big"), [1400])
        assert made.receive(0, piece, 0.0) == [number.to_bytes(2, "big")]


def test_a_fragment_is_lost_when_every_link_has_brought_a_later_one() -> None:
    made = receiver()
    assert made.receive(0, fragment(1, "BE", b"second"), 0.0) == []
    assert made.receive(1, fragment(2, "BE", b"third"), 0.0) == [b"second", b"third"]
    assert made.drops == ["mp_lost"]


def test_an_idle_link_does_not_hold_the_others_for_ever() -> None:
    made = receiver()
    made.receive(0, fragment(0, "B", b"a"), 0.0)
    made.receive(0, fragment(2, "BE", b"b"), 0.5)
    assert made.deadline() == PATIENCE
    assert made.tick(0.9) == []
    assert made.tick(1.0) == [b"b"]
    assert made.drops == ["mp_lost"]
    made.leave(1)
    assert made.receive(0, fragment(4, "BE", b"c"), 2.0) == [b"c"], "the only link left has brought a later one"


def test_what_waits_is_bounded() -> None:
    made = receiver()
    for number in range(1, 4 * FRAGMENTS_MAX):
        made.receive(0, fragment(number, "B" if number % 2 else ""), 0.0)
    assert len(made._waiting) <= FRAGMENTS_MAX + 1
    made = receiver(links=1)
    for number in range(100):
        made.receive(0, fragment(number, "B" if number == 0 else "", bytes(100)), 0.0)
    assert "mp_mrru" in made.drops
    assert len(made._waiting) <= 17


@pytest.mark.parametrize(
    ("pieces", "frames", "drops"),
    [
        ([(0, "BE"), (0, "BE")], 1, ["mp_late"]),
        ([(0, "E"), (1, "BE")], 1, ["mp_headless"]),
        ([(0, "B"), (1, "BE")], 1, ["mp_tailless"]),
        ([(0, ""), (1, "")], 0, ["mp_headless"] * 2),
        ([(2**24 - 1, "BE"), (0, "BE")], 1, ["mp_late"]),
    ],
)
def test_senseless_fragments(pieces: list[tuple[int, str]], frames: int, drops: list[str]) -> None:
    made = receiver(links=1)
    got = [frame for number, flags in pieces for frame in made.receive(0, fragment(number, flags), 0.0)]
    assert (len(got), made.drops) == (frames, drops)
    assert made.receive(7, fragment(9, "BE"), 0.0) == [], "no link of the bundle"


def test_headers_cut_short_and_frames_over_the_mrru() -> None:
    for short, length in ((False, 3), (True, 1), (False, 0)):
        with pytest.raises(Malformed):
            Fragment.parse(b"\xc0" * length, short=short)
    assert Sender(LONG).cut(bytes(1501), [1400]) == []
    assert Sender(LONG).cut(b"x", []) == []


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=12)), max_size=60), st.booleans())
@settings(deadline=None)
def test_no_octets_break_it(pieces: list[tuple[int, bytes]], short: bool) -> None:
    made = receiver(SHORT if short else LONG)
    for number, (link, octets) in enumerate(pieces):
        try:
            made.receive(link, octets, number * 0.1)
        except Malformed:
            assert len(octets) < 4
        made.tick(number * 0.1)
    assert len(made._waiting) <= FRAGMENTS_MAX + 1


@pytest.mark.skipif(dissect.NONE, reason="tshark is not installed")
def test_tshark_puts_our_fragments_together(tmp_path: Path) -> None:
    frame = (
        b"\x00\x21" + bytes.fromhex("4500004000010000401126a80a0000010a000002") + bytes.fromhex("00070007002c0000") + bytes(36)
    )
    pieces = [b"\xff\x03\x00\x3d" + piece for _, piece in Sender(LONG).cut(frame * 1, [1400])]
    pieces += [b"\xff\x03\x00\x3d" + piece for _, piece in Sender(LONG).cut(frame * 1, [40, 40])]
    rows = dissect.dissect(dissect.capture(tmp_path / "mp.pcap", dissect.PPP, pieces), "mp.first", "mp.last", "ip.len")
    assert rows[0][0].startswith("ppp:mp")
    assert [row[1] for row in rows] == ["1", "1", "0"] or [row[1] for row in rows] == ["True", "True", "False"]


# --- what LCP agrees on -------------------------------------------------------------------------------------------------------

MACHINE = MultilinkConfig(b"\1this machine", mrru=1500)


def answer(option: Option, **config: object) -> Packet:
    script = Script(server_config(**{"multilink": MACHINE, **config}))
    (packet,) = [
        packet for _, packet in script.say(Proto.LCP, Code.CONFIGURE_REQUEST, 9, (option,)) if packet.code in {2, 3, 4}
    ]
    return packet


@pytest.mark.parametrize(
    ("option", "code"),
    [
        (Option(17, b"\x05\xdc"), Code.CONFIGURE_ACK),
        (Option(17, b"\x00\x00"), Code.CONFIGURE_NAK),
        (Option(17, b"\x00\xff"), Code.CONFIGURE_NAK),
        (Option(17, b"\xff\xff"), Code.CONFIGURE_NAK),
        (Option(18), Code.CONFIGURE_ACK),
        (Option(19, b"\x03" + bytes(6)), Code.CONFIGURE_ACK),
        (Option(19, b"\x00"), Code.CONFIGURE_ACK),
        *((Option(17, bytes(n)), Code.CONFIGURE_REJECT) for n in (0, 1, 3, 4)),
        (Option(18, b"x"), Code.CONFIGURE_REJECT),
        (Option(19), Code.CONFIGURE_REJECT),
    ],
)
def test_each_multilink_option_of_the_peer(option: Option, code: Code) -> None:
    got = answer(option)
    assert got.code == code
    assert code != Code.CONFIGURE_NAK or options_of(got)[17] == b"\x05\xdc"


@pytest.mark.parametrize("config", [{"multilink": None}, {"encryption": Encryption.REQUIRED}])
def test_multilink_is_rejected_where_it_is_not_to_be(config: dict[str, object]) -> None:
    for option in (Option(17, b"\x05\xdc"), Option(18)):
        assert answer(option, **config).code == Code.CONFIGURE_REJECT
    script = Script(server_config(**{"multilink": MACHINE, **config}))
    script.hear()
    assert not {17, 18, 19} & set(options_of(script.asked(Proto.LCP)))


def test_both_ends_agree_on_sizes_numbers_and_names() -> None:
    server = server_config(multilink=MultilinkConfig(b"\1gateway", mrru=2000, short=True))
    pair = Pair(server, client_config(multilink=MACHINE)).until(MultilinkOffered)
    assert pair.server.one(MultilinkOffered).terms == Terms(2000, 1500, True, False, MACHINE.discriminator)
    assert pair.client.one(MultilinkOffered).terms == Terms(1500, 2000, False, True, b"\1gateway")


def test_a_peer_without_multilink_is_a_plain_link() -> None:
    pair = Pair(server_config(multilink=MACHINE), client_config()).until(Ipv4Up)
    assert not pair.server.has(MultilinkOffered)
    script = Script(server_config(multilink=MACHINE))
    script.hear()
    request = script.asked(Proto.LCP)
    script.say(Proto.LCP, Code.CONFIGURE_NAK, request.identifier, (Option(17, b"\x04\x00"), Option(19, b"\1you")))
    again = options_of(script.asked(Proto.LCP))
    assert again[17] == b"\x04\x00"
    assert 19 not in again
    request = script.asked(Proto.LCP)
    script.say(Proto.LCP, Code.CONFIGURE_REJECT, request.identifier, (Option(17, b"\x04\x00"),))
    assert 17 not in options_of(script.asked(Proto.LCP))


def test_nobody_answers_an_offer_twice() -> None:
    script = Script(server_config(multilink=MACHINE, local_address=None))
    assert script.link.deadline() is not None
    script.link.lead(script.now)
    script.link.follow(script.now)
    script.link.fragment(b"x")
    assert all(frame[:2] == b"\xc0\x21" for frame in script.end.drain()), "not before it was offered"
