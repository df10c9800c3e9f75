"""Renewal of both phases: by time, by volume, by hand, from either side, both at once, in bad weather."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ike.harness import CLIENT, Pair, Side, config
from tests.sim import Weather

from headrace.errors import Slug
from headrace.ike import events, informational
from headrace.ike.limits import CHILDLESS_LATER
from headrace.model import Datagram, Endpoint, Failure

QUIET = config(dpd_delay=0.0)


def watched(pair: Pair, seconds: float, step: float = 1.0) -> None:
    """Let time pass, and hold at every moment that both sides have an SA that works."""
    end = pair.now + seconds
    while pair.now < end:
        pair.run(min(step, end - pair.now))
        pair.client.absorb()
        pair.server.absorb()
        assert pair.client.data.current and pair.server.data.current
        pair.check_keys()


def settled(pair: Pair) -> None:
    """One phase 1 and one pair on both sides."""
    for side in (pair.client, pair.server):
        (peer,) = side.ike._peers.values()
        assert len(peer.ikes) == 1, side.name
        assert len(peer.children) == 1, side.name
        assert len(side.data.inbound) == 1
        assert [len(spis) for spis in side.data.outbound.values()] == [1]
    a, b = (next(iter(side.ike._peers.values())).ikes[0].cookies for side in (pair.client, pair.server))
    assert a == b
    pair.traffic()


@pytest.mark.parametrize("who", ["client", "server"])
def test_child_by_hand(who: str) -> None:
    pair = Pair(QUIET, QUIET).connect()
    side, peer = (pair.client, pair.handle) if who == "client" else (pair.server, pair.server_peer())
    old = side.data.current[peer]
    side.ike.rekey_child(peer, pair.now)
    watched(pair, 20, 0.5)
    settled(pair)
    assert side.data.current[peer] != old
    assert side.last(events.ChildUp).rekey
    assert len(pair.client.all(events.ChildUp)) == len(pair.server.all(events.ChildUp)) == 2


@pytest.mark.parametrize("who", ["client", "server"])
def test_old_inbound_outlives_the_switch(who: str) -> None:
    pair = Pair(QUIET, QUIET).connect()
    side, peer = (pair.client, pair.handle) if who == "client" else (pair.server, pair.server_peer())
    side.ike.rekey_child(peer, pair.now)
    pair.run(2)
    assert len(pair.client.data.inbound) == len(pair.server.data.inbound) == 2
    order = [type(event).__name__ for event in pair.server.events[-3:]]
    assert order == ["InstallSa", "InstallSa", "ChildUp"]
    pair.run(15)
    assert len(pair.client.data.inbound) == len(pair.server.data.inbound) == 1
    assert not pair.server.drops() and not pair.client.drops()


@pytest.mark.parametrize("who", ["client", "server"])
def test_phase1_by_hand(who: str) -> None:
    pair = Pair(QUIET, QUIET).connect()
    side, peer = (pair.client, pair.handle) if who == "client" else (pair.server, pair.server_peer())
    before = side.ike._peers[peer].ikes[0].cookies
    side.ike.rekey_peer(peer, pair.now)
    watched(pair, 70)
    settled(pair)
    assert side.ike._peers[peer].ikes[0].cookies != before
    assert len(pair.client.all(events.PeerUp)) == len(pair.server.all(events.PeerUp)) == 1
    side.ike.rekey_child(peer, pair.now)
    watched(pair, 20)
    settled(pair)


def test_by_time() -> None:
    short = config(dpd_delay=0.0, rekey_time=3000.0, esp_rekey_time=600.0)
    pair = Pair(short, short).connect()
    watched(pair, 7000, 25)
    assert 11 <= len(pair.server.all(events.ChildUp)) <= 15
    settled(pair) if len(pair.server.data.inbound) == 1 else pair.traffic()
    assert not pair.server.failures() and not pair.client.failures()
    started = [d for _, right, d in pair.wire if d.data[18] == 2 and d.data[8:16] == bytes(8)]
    assert len(started) == 3, "phase 1 was renewed twice, by one side"


def test_the_shorter_life_wins() -> None:
    pair = Pair(config(dpd_delay=0.0, esp_rekey_time=8 * 3600.0), config(dpd_delay=0.0, esp_rekey_time=600.0)).connect()
    assert pair.server.last(events.ChildUp).lifetime == pytest.approx(660.0)
    watched(pair, 2000, 25)
    assert len(pair.server.all(events.ChildUp)) >= 3


def test_by_volume() -> None:
    limited = config(dpd_delay=0.0, esp_rekey_bytes=100_000_000)
    pair = Pair(limited, QUIET).connect()
    for side in (pair.client, pair.server):
        for install in side.all(events.InstallSa):
            assert install.keys.hard_bytes == 100_000_000
            assert 70_000_000 <= install.keys.soft_bytes <= 80_000_000
    assert pair.client.last(events.InstallSa).keys.soft_bytes < pair.server.last(events.InstallSa).keys.soft_bytes
    peer = pair.server_peer()
    pair.server.ike.soft_limit(peer, pair.server.data.current[peer], pair.now)
    pair.server.ike.soft_limit(peer, pair.server.data.current[peer], pair.now)
    watched(pair, 30)
    settled(pair)
    assert len(pair.server.all(events.ChildUp)) == 2


def test_soft_limit_by_inbound_spi() -> None:
    pair = Pair(QUIET, QUIET).connect()
    pair.client.ike.soft_limit(pair.handle, next(iter(pair.client.data.inbound)), pair.now)
    pair.client.ike.soft_limit(pair.handle, 12345, pair.now)
    watched(pair, 20)
    settled(pair)


@pytest.mark.parametrize("seed", range(6))
def test_n058_both_rekey_at_once(seed: int) -> None:
    pair = Pair(QUIET, QUIET, seed=seed, weather=Weather(latency=0.02, jitter=0.02)).connect()
    pair.run(20)
    pair.client.ike.rekey_child(pair.handle, pair.now)
    pair.server.ike.rekey_child(pair.server_peer(), pair.now)
    watched(pair, 60, 0.5)
    settled(pair)
    pair.client.ike.rekey_peer(pair.handle, pair.now)
    pair.server.ike.rekey_peer(pair.server_peer(), pair.now)
    watched(pair, 60, 0.5)
    settled(pair)
    pair.client.ike.rekey_child(pair.handle, pair.now)
    watched(pair, 30)
    settled(pair)


@pytest.mark.parametrize("phase", [1, 2])
@pytest.mark.parametrize("offset", [n * 0.01 for n in range(14)])
def test_rekeys_that_cross(phase: int, offset: float) -> None:
    """The other side begins while messages of the first are anywhere on their way: both must end with the same."""
    pair = Pair(QUIET, QUIET, seed=int(offset * 1000), weather=Weather(latency=0.02)).connect()
    pair.run(20)

    def begin(side: Side, peer: int) -> None:
        (side.ike.rekey_child if phase == 2 else side.ike.rekey_peer)(peer, pair.now)

    begin(pair.client, pair.handle)
    pair.run(offset)
    begin(pair.server, pair.server_peer())
    watched(pair, 1, 0.01)
    watched(pair, 60, 0.5)
    settled(pair)


@pytest.mark.parametrize("seed", range(8))
def test_everything_at_once_in_bad_weather(seed: int) -> None:
    weather = Weather(loss=0.15, duplicate=0.1, reorder=0.2, latency=0.05, jitter=0.1)
    pair = Pair(QUIET, QUIET, seed=seed, client_nat=bool(seed % 2)).connect()
    pair.run(20)
    pair.sim.weather = weather
    pair.client.ike.rekey_child(pair.handle, pair.now)
    pair.server.ike.rekey_peer(pair.server_peer(), pair.now)
    pair.run(0.07)
    pair.server.ike.rekey_child(pair.server_peer(), pair.now)
    pair.client.ike.rekey_peer(pair.handle, pair.now)
    pair.run(300)
    assert pair.client.ike.stats().peers == pair.server.ike.stats().peers == 1
    pair.sim.weather = Weather()
    pair.client.ike.rekey_child(pair.handle, pair.now)
    pair.run(60)
    pair.traffic()


def test_n059_phase1_expires_and_phase2_carries_on() -> None:
    """The gateway's phase 1 ends early; the next rekey of ESP makes a new one."""
    pair = Pair(QUIET, QUIET).connect()
    peer = pair.server_peer()
    found = pair.server.ike._peers[peer]
    found.ikes[0].expires_at = pair.now + 5
    pair.server.ike._rearm(found)
    watched(pair, 30)
    assert not found.ikes and not pair.client.ike._peers[pair.handle].ikes
    assert pair.server.ike.stats().peers == pair.client.ike.stats().peers == 1
    pair.server.ike.rekey_child(peer, pair.now)
    watched(pair, 30)
    settled(pair)
    assert len(pair.server.all(events.PeerUp)) == 1


def test_rekey_when_the_peer_lost_its_phase1() -> None:
    pair = Pair(QUIET, QUIET).connect()
    found = pair.server.ike._peers[pair.server_peer()]
    found._remove_phase1(found.ikes[0])
    pair.client.ike.rekey_child(pair.handle, pair.now)
    pair.run(300)
    assert pair.client.slugs() == [Slug.ESP_TIMEOUT]
    pair.traffic()
    assert pair.client.last(events.ChildUp).rekey
    settled(pair)


def test_child_that_cannot_be_renewed_expires_and_the_peer_with_it() -> None:
    short = config(dpd_delay=0.0, esp_rekey_time=300.0)
    pair = Pair(short, short).connect()
    pair._tap = lambda _now, _right, _d: None
    pair.run(1000)
    for side in (pair.client, pair.server):
        assert side.ike.stats().peers == 0, side.name
        assert not side.data.inbound
        assert side.all(events.PeerDown)
        assert side.ike.deadline() is None


def test_peer_deletes_its_child_and_makes_another() -> None:
    pair = Pair(QUIET, QUIET).connect()
    client = pair.client.ike._peers[pair.handle]
    (child,) = client.children
    client._expire(child, pair.now)
    pair.run(10)
    assert pair.server.ike.stats().children == 0
    assert pair.server.ike.stats().peers == 1
    client._quick_mode(None, pair.now)
    pair.run(5)
    pair.traffic()
    assert pair.server.last(events.ChildUp).rekey


def test_peer_without_child_goes_after_a_while() -> None:
    pair = Pair(QUIET, QUIET).connect()
    client = pair.client.ike._peers[pair.handle]
    (child,) = client.children
    client._expire(child, pair.now)
    pair.run(CHILDLESS_LATER + 5)
    assert pair.server.last(events.PeerDown).failure.slug is Slug.PEER_DELETED
    assert pair.client.ike.stats().peers == 0


def test_phase1_deleted_alone_leaves_phase2() -> None:
    pair = Pair(QUIET, QUIET).connect()
    client = pair.client.ike._peers[pair.handle]
    client._inform(client.ikes[0], informational.delete_phase1(client.ikes[0].channel), pair.now)
    pair.run(1)
    assert pair.server.ike.stats().peers == 1 and pair.server.ike.stats().children == 1
    assert not pair.server.all(events.PeerDown)


def test_a_machine_that_comes_back_with_initial_contact_replaces_itself() -> None:
    pair = Pair(QUIET, QUIET).connect()
    old = pair.server_peer()
    again = Pair(QUIET, QUIET, seed=9)
    again.server = pair.server
    again.sim._right = again._adapter(pair.server)
    again.sim.now = pair.now + 100
    again.dial()
    again.run(5)
    assert pair.server.last(events.PeerUp).peer != old
    down = pair.server.last(events.PeerDown)
    assert (down.peer, down.failure.slug) == (old, Slug.REPLACED)
    assert pair.server.ike.stats().peers == 1
    again.traffic()


def test_initial_contact_in_a_message_of_its_own_replaces_too() -> None:
    from headrace.ike.constants import NotifyType, PayloadType, ProtocolId
    from headrace.ike.initiator import Initiator
    from headrace.ike.payloads import Notify

    pair = Pair(QUIET, QUIET).connect()
    old = pair.server_peer()
    again = Pair(QUIET, QUIET, seed=9)
    again.server = pair.server
    again.sim._right = again._adapter(pair.server)
    again.sim.now = pair.now + 100
    peer = again.client.ike._new_peer(Endpoint(CLIENT, 500), Endpoint(again.server_address, 500), again.now, initiator=True)
    peer.begin(again.now, first_contact=False)
    peer._wanted.clear()
    assert isinstance(peer.pending, Initiator)
    again.run(2)
    assert pair.server.ike.stats().peers == 1, "taken for a renewal so far"
    (phase1,) = peer.ikes
    note = Notify(NotifyType.INITIAL_CONTACT, ProtocolId.ISAKMP, phase1.channel.cookies)
    peer._inform(phase1, [(PayloadType.NOTIFY, note.emit())], again.now)
    again.run(1)
    assert pair.server.last(events.PeerDown).peer == old
    assert pair.server.last(events.PeerUp).peer != old
    peer._quick_mode(None, again.now)
    again.run(2)
    again.handle = peer.handle
    again.traffic()
    peer._inform(phase1, [(PayloadType.NOTIFY, note.emit())], again.now)
    again.run(1)
    assert pair.server.drops()[-1] == "ike_notify", "not after something was built on it"
    assert pair.server.ike.stats().peers == 1


def test_reconnect_without_initial_contact_joins_the_peer() -> None:
    pair = Pair(QUIET, QUIET).connect()
    peer = pair.client.ike._peers[pair.handle]
    peer.rekey_phase1(pair.now)
    pair.run(3)
    assert pair.server.ike.stats().peers == 1
    pair.client.ike.close_peer(pair.handle, Failure(Slug.USER_REQUEST), pair.now)
    pair.run(1)
    assert pair.server.ike.stats().peers == 0


def test_commit_bit_of_the_responder() -> Any:
    """A Windows 2000 style responder sets the bit in message 2 and says CONNECTED when it is ready."""
    from tests.ike.harness import retell

    from headrace.ike.constants import Exchange, NotifyType, PayloadType, ProtocolId
    from headrace.ike.payloads import Notify

    for kind in (Exchange.INFORMATIONAL, Exchange.QUICK, None):

        def tap(_now: float, right: bool, d: Datagram) -> Datagram | None:
            if not right and d.data[18] == 32:
                data = bytearray(d.data)
                data[19] |= 2
                return retell(d, bytes(data))
            return d

        pair = Pair(QUIET, QUIET, tap=tap)
        pair.dial()
        pair.run(0.5)
        assert pair.server.all(events.ChildUp) and not pair.client.all(events.ChildUp)
        assert len(pair.client.data.inbound) == 1 and not pair.client.data.current
        (mode,) = pair.server.ike._peers[pair.server_peer()].ikes[0].quick.values()
        channel = mode.phase1.channel
        note = [(PayloadType.NOTIFY, Notify(NotifyType.CONNECTED, ProtocolId.ESP).emit())]
        if kind is not None:
            iv = mode._iv if kind is Exchange.QUICK else channel.iv(mode.message_id)
            pair.server.ike._peers[pair.server_peer()].transmit(channel.seal_hashed(kind, mode.message_id, iv, note), pair.now)
        pair.run(0.5 if kind is not None else 4)
        assert pair.client.all(events.ChildUp), kind
        pair.traffic()


def test_responder_lifetime_shortens() -> None:
    from headrace.ike.attributes import Attribute, Life, emit_attributes
    from headrace.ike.constants import NotifyType, PayloadType, ProtocolId
    from headrace.ike.message import emit_chain, parse_chain
    from headrace.ike.payloads import Notify
    from headrace.ike.quick_initiator import _responder_lifetime, _shorter

    data = emit_attributes([Attribute.of(1, 1), Attribute.of(2, 1000)])
    body = Notify(NotifyType.RESPONDER_LIFETIME, ProtocolId.ESP, b"1234", data).emit()
    chain = parse_chain(PayloadType.NOTIFY, emit_chain([(PayloadType.NOTIFY, body)]), padded=False)
    assert _responder_lifetime(chain) == Life(1000, None)
    assert _shorter(Life(3600, None), Life(1000, 5)) == Life(1000, 5)


def test_volume_life_of_windows() -> None:
    """250000 KB, as every Windows proposes, become 80 % soft and 100 % hard."""
    pair = Pair(config(esp_rekey_bytes=250_000_000), config()).connect()
    keys = pair.server.last(events.InstallSa).keys
    assert keys.hard_bytes == 250_000_000
    assert 0.77 * keys.hard_bytes < keys.soft_bytes <= 0.8 * keys.hard_bytes


def test_too_many_children_let_the_oldest_go() -> None:
    few = config(dpd_delay=0.0, max_children_per_peer=3)
    pair = Pair(few, few).connect()
    for _ in range(10):
        pair.run(1)
        pair.client.ike.rekey_child(pair.handle, pair.now)
    pair.run(40)
    pair.traffic()
    assert len(pair.server.data.inbound) <= 3
    assert not pair.server.failures()
