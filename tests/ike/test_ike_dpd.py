"""Dead peer detection (RFC 3706)."""

from __future__ import annotations

import pytest
from tests.ike.harness import Pair, config, retell, seeded

from headrace.errors import Slug
from headrace.ike import events, informational, vendor
from headrace.ike.constants import NotifyType
from headrace.ike.dpd import DeadPeerDetection, Questions, Verdict
from headrace.ike.message import Header, emit_message, parse_chain
from headrace.model import Datagram


def test_asking() -> None:
    dpd = DeadPeerDetection(seeded(1), 0.0)
    assert dpd.sequence < 2**31
    assert dpd.deadline(0, 120) is None
    assert dpd.deadline(30, 120) == 30
    assert dpd.tick(29.9, 30, 120) is Verdict.NOTHING
    first = dpd.sequence
    times = []
    now = 30.0
    while (verdict := dpd.tick(now, 30, 120)) is not Verdict.GONE:
        assert verdict is Verdict.ASK
        times.append(now)
        now = dpd.deadline(30, 120) or 0.0
    assert times == [30, 60, 90, 120] and now == 150
    assert dpd.sequence == first + 4
    dpd.alive(150)
    assert dpd.deadline(30, 120) == 180


@pytest.mark.parametrize(
    ("last", "number", "good"),
    [
        (None, 0, True),
        (7, 7, True),
        (7, 8, True),
        (7, 6, False),
        (7, 2**32 - 1, False),
        (2**32 - 1, 0, True),
        (7, 7 + 65537, False),
    ],
)
def test_which_questions_are_believed(last: int | None, number: int, good: bool) -> None:
    questions = Questions()
    if last is not None:
        assert questions.accept(last)
    assert questions.accept(number) is good


def test_live_peers_stay() -> None:
    quick = config(dpd_delay=5.0, dpd_timeout=20.0)
    pair = Pair(quick, quick).connect()
    pair.run(300)
    assert pair.client.ike.stats().peers == pair.server.ike.stats().peers == 1
    assert any(d.data[18] == 5 for _, _, d in pair.wire)
    assert "ike_dpd" not in pair.client.drops() + pair.server.drops()


def test_dead_peers_go() -> None:
    quick = config(dpd_delay=10.0, dpd_timeout=40.0)
    pair = Pair(config(dpd_delay=0.0), quick).connect()
    peer = pair.server_peer()
    pair._tap = lambda _now, right, d: None if right else d
    begin = len(pair.wire)
    pair.run(49)
    assert pair.server.ike.stats().peers == 1
    pair.run(5)
    assert pair.server.last(events.PeerDown).peer == peer
    assert pair.server.last(events.PeerDown).failure.slug is Slug.DPD_LOST
    asked = [d for _, right, d in pair.wire[begin:] if not right]
    assert len(asked) == 4
    assert not pair.server.data.inbound
    assert pair.server.ike.deadline() is None


def test_esp_counts_as_life() -> None:
    quick = config(dpd_delay=10.0, dpd_timeout=40.0)
    pair = Pair(config(dpd_delay=0.0), quick).connect()
    begin = len(pair.wire)
    for _ in range(20):
        pair.run(8)
        pair.server.ike.esp_activity(pair.server_peer(), pair.now)
    assert len(pair.wire) == begin


def test_switched_off() -> None:
    off = config(dpd_delay=0.0)
    pair = Pair(off, off).connect()
    begin = len(pair.wire)
    pair.run(600)
    assert len(pair.wire) == begin


def test_peer_that_never_showed_the_vendor_id_is_not_asked() -> None:
    from tests.ike.test_ike_natt import only

    pair = Pair(config(dpd_delay=0.0), config(dpd_delay=5.0), tap=only(vendor.RFC_3947))
    pair._tap = strip_dpd
    pair.connect()
    begin = len(pair.wire)
    pair.run(100)
    assert len(pair.wire) == begin


def strip_dpd(_now: float, right: bool, d: Datagram) -> Datagram | None:

    from headrace.ike import vendor

    if right and d.data[8:16] == bytes(8):
        chain = parse_chain(d.data[16], d.data[28:], padded=False)
        keep = [(raw.type, raw.body) for raw in chain.items if raw.body != vendor.DPD]
        return retell(d, emit_message(Header(d.data[:8], bytes(8), 0, 2), keep))
    return d


def test_questions_and_answers_on_the_wire() -> None:
    pair = Pair(config(dpd_delay=0.0), config(dpd_delay=0.0)).connect()
    client = pair.client.ike._peers[pair.handle]
    best = client.ikes[0]
    client._inform(best, informational.dpd(NotifyType.R_U_THERE, best.channel, 1000), pair.now)
    pair.run(1)
    assert [right for _, right, d in pair.wire if d.data[18] == 5] == [True, False]
    assert pair.client.drops() == ["ike_dpd"], "the data plane's clock did not ask, so the answer is not expected"


def test_without_phase1_a_new_one_is_made() -> None:
    quick = config(dpd_delay=20.0, dpd_timeout=60.0)
    pair = Pair(quick, quick).connect()
    for side, peer in ((pair.client, pair.handle), (pair.server, pair.server_peer())):
        found = side.ike._peers[peer]
        found._remove_phase1(found.ikes[0])
    pair.run(90)
    assert pair.client.ike._peers[pair.handle].ikes
    assert pair.server.ike._peers[pair.server_peer()].ikes
    assert len(pair.client.all(events.PeerUp)) == len(pair.server.all(events.PeerUp)) == 1
    pair.traffic()
