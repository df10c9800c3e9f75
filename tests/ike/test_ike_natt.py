"""NAT traversal: detection, port float, drafts, following a mapping that changes, feigned NATs (RFC 3947)."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from tests.ike.harness import CLIENT, PRIVATE, SERVER, Nat, Pair, config, retell, seeded

from headrace.errors import Slug
from headrace.ike import events, natt, vendor
from headrace.ike.constants import Exchange, PayloadType
from headrace.ike.message import Header, emit_message, parse_chain
from headrace.ike.payloads import VendorId
from headrace.ike.proposal import IkeHash
from headrace.model import Datagram, Endpoint


def ports(pair: Pair) -> list[tuple[int, int]]:
    return [(d.local.port, d.remote.port) for _, right, d in pair.wire if right]


@pytest.mark.parametrize(("client_nat", "server_nat"), [(True, False), (False, True), (True, True)])
def test_port_float(client_nat: bool, server_nat: bool) -> None:
    pair = Pair(client_nat=client_nat, server_nat=server_nat).connect()
    client, server = pair.client.last(events.PeerUp), pair.server.last(events.PeerUp)
    assert (client.nat_local, client.nat_remote) == (client_nat, server_nat)
    assert (server.nat_local, server.nat_remote) == (server_nat, client_nat)
    assert client.local == Endpoint(pair.client_address, 4500)
    assert client.remote == Endpoint(SERVER, 4500)
    assert server.remote.port == (40001 if client_nat else 4500)
    assert server.local == Endpoint(pair.server_address, 4500)
    for side, behind in ((pair.client, client_nat), (pair.server, server_nat)):
        for install in side.all(events.InstallSa):
            assert install.keys.udp_encap
            assert install.follow is not behind
            assert install.remote == side.last(events.PeerUp).remote
    assert [remote for _, remote in ports(pair)] == [500, 500, 4500, 4500, 4500]


def test_no_nat_no_float() -> None:
    pair = Pair().connect()
    assert set(ports(pair)) == {(500, 500)}
    assert not pair.server.all(events.InstallSa)[0].keys.udp_encap


def only(vendor_id: bytes) -> Any:
    """Leave one NAT-T vendor id in the first message, as an old client would."""

    def tap(_now: float, right: bool, d: Datagram) -> Datagram:
        if right and d.data[8:16] == bytes(8):
            chain = parse_chain(d.data[16], d.data[28:], padded=False)
            keep = [
                (raw.type, raw.body)
                for raw in chain.items
                if raw.type != PayloadType.VENDOR_ID or raw.body in {vendor_id, vendor.DPD}
            ]
            return retell(d, emit_message(Header(d.data[:8], bytes(8), 0, Exchange.MAIN), keep))
        return d

    return tap


@pytest.mark.parametrize("variant", natt.VARIANTS, ids=lambda v: v.vendor_id.hex()[:8])
def test_drafts(variant: natt.Variant) -> None:
    pair = Pair(client_nat=True, tap=only(variant.vendor_id)).connect()
    answer = next(d for _, right, d in pair.wire if not right)
    chain = parse_chain(answer.data[16], answer.data[28:], padded=False)
    ids = [item.data for item in chain.all(PayloadType.VENDOR_ID, VendorId)]
    assert natt.best(ids) == variant
    third = [d for _, right, d in pair.wire if right][1]
    kinds = {raw.type for raw in parse_chain(third.data[16], third.data[28:], padded=False).items}
    assert variant.nat_d in kinds
    assert pair.server.last(events.InstallSa).keys.udp_encap
    (mode,) = pair.server.ike._peers[pair.server_peer()].ikes[0].quick.values()
    assert mode.phase1.variant == variant


def test_no_vendor_id_no_nat_traversal() -> None:
    pair = Pair(tap=only(b"")).connect()
    assert not pair.server.last(events.PeerUp).nat_remote
    third = [d for _, right, d in pair.wire if right][1]
    assert [raw.type for raw in parse_chain(third.data[16], third.data[28:], padded=False).items] == [4, 10]


def test_mapping_changes_and_the_gateway_follows_what_is_authenticated() -> None:
    quick = config(dpd_delay=10.0)
    pair = Pair(quick, quick, client_nat=True).connect()
    peer = pair.server_peer()
    assert pair.client_nat is not None
    pair.client_nat.forget()
    pair.run(25)
    moved = pair.server.last(events.PeerMoved)
    assert moved.peer == peer
    assert moved.remote == Endpoint(CLIENT, 40002)
    assert pair.server.data.remote[peer] == moved.remote
    assert not pair.client.all(events.PeerMoved), "the side behind the NAT does not follow"
    assert pair.client.ike.stats().peers == pair.server.ike.stats().peers == 1
    pair.server.ike.rekey_child(peer, pair.now)
    pair.run(20)
    pair.traffic()


def test_data_plane_proves_a_new_address() -> None:
    pair = Pair(client_nat=True).connect()
    peer = pair.server_peer()
    pair.server.ike.esp_moved(peer, Endpoint(CLIENT, 50000), pair.now)
    pair.server.ike.rekey_child(peer, pair.now)
    assert pair.server.drain()[0].remote == Endpoint(CLIENT, 50000)
    pair.client.ike.esp_moved(pair.handle, Endpoint(CLIENT, 1), pair.now)
    pair.client.ike.rekey_child(pair.handle, pair.now)
    assert pair.client.drain()[0].remote == Endpoint(SERVER, 4500)


def test_unauthenticated_messages_move_nobody() -> None:
    pair = Pair(client_nat=True).connect()
    last = [d for _, right, d in pair.wire if right][-1]
    elsewhere = Endpoint.of("203.0.113.66", 4500)
    garbage = last.data[:28] + bytes(len(last.data) - 28)
    for data in (last.data, garbage):
        pair.server.ike.receive(Datagram(Endpoint(SERVER, 4500), elsewhere, data), pair.now)
    assert not pair.server.all(events.PeerMoved)
    assert pair.server.drain() == []


def test_replayed_messages_move_nobody() -> None:
    """The octets are authentic, but old: whoever repeats them from elsewhere must not draw the traffic there."""
    pair = Pair(client_nat=True, tap=lambda _now, right, d: None if right and d.data[18] == 32 and len(d.data) < 100 else d)
    pair.dial()
    pair.run(0.5)
    elsewhere = Endpoint.of("203.0.113.66", 4500)
    first = next(d for _, right, d in pair.wire if right and d.data[18] == 32)
    pair.run(1.2)
    delivered = [d for _, right, d in pair.wire if right and not (d.data[18] == 32 and len(d.data) < 100)]
    for d in (*delivered, first):
        pair.server.ike.receive(Datagram(Endpoint(SERVER, 4500), elsewhere, d.data), pair.now)
    assert not pair.server.all(events.PeerMoved)
    assert pair.server.ike._peers[pair.server_peer()].remote == Endpoint(CLIENT, 40001)


def test_a_peer_that_floats_has_seen_a_nat() -> Any:
    """A tunnel that rewrites NAT-D on the way back only: the client floats although we see no NAT."""

    def tap(_now: float, right: bool, d: Datagram) -> Datagram:
        if not right and d.data[16] == 4:
            chain = parse_chain(d.data[16], d.data[28:], padded=False)
            bodies = [(raw.type, b"x" * 20 if raw.type == PayloadType.NAT_D else raw.body) for raw in chain.items]
            return retell(d, emit_message(Header(d.data[:8], d.data[8:16], 0, Exchange.MAIN), bodies))
        return d

    pair = Pair(tap=tap).connect()
    assert pair.server.last(events.PeerUp).local.port == 4500
    assert pair.server.last(events.PeerUp).nat_remote
    assert pair.server.last(events.InstallSa).keys.udp_encap


def test_windows_and_a_gateway_behind_a_nat(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(vendor, "describe", lambda _ids: "Windows (MS NT5 9)")
    for silent_from in (4, 6):
        count = 0

        def tap(_now: float, right: bool, d: Datagram, silent_from: int = silent_from) -> Datagram | None:
            nonlocal count
            count += right
            return None if right and count > silent_from // 2 else d

        pair = Pair(server_nat=True, tap=tap)
        pair.dial()
        pair.run(100)
        found = pair.server.failures() + [down.failure for down in pair.server.all(events.PeerDown)]
        assert Slug.SERVER_BEHIND_NAT in {failure.slug for failure in found}
        assert any("AssumeUDPEncapsulationContextOnSendRule" in failure.detail for failure in found)


def test_keepalives_of_the_side_behind_a_nat_only() -> None:
    pair = Pair(client_nat=True).connect()
    assert pair.client.ike.keepalives(pair.now + 19.0) == []
    assert pair.client.ike.keepalives(pair.now + 21.0) == [(Endpoint(PRIVATE, 4500), Endpoint(SERVER, 4500))]
    assert pair.client.ike.keepalives(pair.now + 22.0) == []
    assert pair.client.ike.keepalives(pair.now + 42.0) != []
    assert pair.server.ike.keepalives(pair.now + 100.0) == []


@pytest.mark.parametrize("who", ["client", "server", "both"])
def test_feigned_nat(who: str) -> None:
    on = config(force_encapsulation=True)
    pair = Pair(on if who != "server" else config(), on if who != "client" else config()).connect()
    client, server = pair.client.last(events.PeerUp), pair.server.last(events.PeerUp)
    assert client.nat_local and not client.nat_remote
    assert server.nat_remote and not server.nat_local
    assert pair.client.last(events.InstallSa).keys.udp_encap
    for side, peer in ((pair.client, pair.handle), (pair.server, server.peer)):
        side.ike.rekey_peer(peer, pair.now)
        pair.run(60)
        side.ike.rekey_child(peer, pair.now)
        pair.run(10)
    pair.traffic()
    assert pair.client.last(events.InstallSa).keys.udp_encap


def test_phase1_is_renewed_on_the_floated_ports() -> None:
    pair = Pair(client_nat=True).connect()
    before = len(pair.wire)
    pair.server.ike.rekey_peer(pair.server_peer(), pair.now)
    pair.run(3)
    first = pair.wire[before][2]
    assert (first.local.port, first.remote) == (4500, Endpoint(CLIENT, 40001))
    assert len(pair.server.all(events.PeerUp)) == 1
    pair.run(60)
    assert len(pair.server.ike._peers[pair.server_peer()].ikes) == 1


def test_same_private_address_behind_two_nats() -> None:
    one, two = Pair(client_nat=True, seed=1), Pair(client_nat=True, seed=2)
    two.client_nat = Nat(str(PRIVATE), "203.0.113.9")
    two.server = one.server
    two.sim._right = two._adapter(one.server)
    one.connect()
    two.dial()
    with two.sim:
        two.sim.run_until(lambda: bool(two.client.all(events.ChildUp)), limit=10)
    two.run(1)
    assert [up.remote_id for up in one.server.all(events.PeerUp)] == [str(PRIVATE)] * 2
    assert one.server.ike.stats().peers == 2
    assert one.server.ike.stats().children == 2


def test_verdicts() -> None:
    here, there = Endpoint(SERVER, 500), Endpoint(CLIENT, 500)
    cookies = b"c" * 16
    good = [natt.nat_d(IkeHash.SHA1, cookies, here), natt.nat_d(IkeHash.SHA1, cookies, there)]

    def judge(bodies: list[bytes]) -> natt.NatVerdict:
        return natt.detect(bodies, IkeHash.SHA1, cookies, here, there)

    assert judge([]) == natt.NO_NAT
    assert judge(good) == natt.NatVerdict(local=False, remote=False)
    assert judge(good[:1]) == natt.NatVerdict(local=False, remote=True)
    assert judge(good[::-1]) == natt.NatVerdict(local=True, remote=True)
    assert judge([good[0], b"x" * 20, *[b"y" * 20] * 6, good[1]]) == natt.NO_NAT
    assert judge([good[0][:10], good[1] + b"0"]) == natt.NatVerdict(local=True, remote=True)
    six = Endpoint(ipaddress.ip_address("2001:db8::1"), 500)
    assert len(natt.nat_d(IkeHash.SHA256, cookies, six)) == 32
    feigned = natt.own_nat_d(IkeHash.SHA1, cookies, here, there, feign=True, feign_local=False, rand=seeded(1))
    assert feigned[1] == good[0] and feigned[0] != good[1]


def test_ipv6() -> None:
    pair = Pair()
    pair.client_address = pair.server_address = ipaddress.ip_address("2001:db8::2")
    pair.client.ike.initiate(Endpoint.of("2001:db8::2", 500), Endpoint.of("2001:db8::1", 500), pair.now)
    with pair.sim:
        pair.sim.run_until(pair.up, limit=10)
    assert pair.server.last(events.PeerUp).remote_id == "2001:db8::2"
    pair.traffic()
