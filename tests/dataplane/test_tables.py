"""The tables: adding, changing, removing, limits, export and leap, counters."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network
from typing import Any

import pytest
from tests.dataplane.world import CBC, GCM, OWN4, REMOTE, START_OUT, ip4, ip4_out, receiver, world
from tests.oracle import esp, l2tp

from headrace.dataplane import counters as counting
from headrace.dataplane.native import STATUS, BadDescriptor, DataPlaneError, InUse, NoSuchRecord, TableFull, ffi, lib
from headrace.dataplane.tables import DataPlane, MppeRecord, PeerConfig, SessionConfig
from headrace.errors import LocalError
from headrace.model import Auth, Cipher, Endpoint, MppeKeys

PEER = PeerConfig(REMOTE, udp_encap=True)


def session(peer: int, number: int, **fields: Any) -> SessionConfig:
    return SessionConfig(peer, 1, number, 9, number, open4=True, **fields)


def test_n082_full_tables() -> None:
    with DataPlane(max_peers=2, max_sas=3, max_sessions=2) as plane:
        peers = [plane.add_peer(PEER) for _ in range(2)]
        with pytest.raises(TableFull):
            plane.add_peer(PEER)
        sas = [plane.add_sa(peers[0], CBC.keys(0x1000 + n, outbound=False)) for n in range(3)]
        for outbound in (False, True):
            with pytest.raises(TableFull):
                plane.add_sa(peers[0], CBC.keys(0x2000, outbound=outbound))
        sessions = [plane.add_session(session(peers[0], n + 1, own4=IPv4Address(0x0A000001 + n))) for n in range(2)]
        with pytest.raises(TableFull):
            plane.add_session(session(peers[0], 3, own4=IPv4Address("10.0.0.9"), own6=IPv6Network("2001:db8::/64")))
        plane.remove_sa(sas[1])
        plane.add_sa(peers[1], CBC.keys(0x2000, outbound=False))
        plane.remove_session(sessions[0])
        plane.add_session(session(peers[0], 3, own4=IPv4Address("10.0.0.9"), own6=IPv6Network("2001:db8::/64")))
        plane.remove_peer(peers[0])
        for _ in range(2):
            plane.add_sa(peers[1], CBC.keys(0x3000 + _, outbound=False))
        plane.add_peer(PEER)


def test_missing_records() -> None:
    with DataPlane() as plane:
        calls = [
            lambda n: plane.update_peer(n, PEER),
            plane.peer,
            plane.remove_peer,
            lambda n: plane.add_sa(n, CBC.keys(999, outbound=True)),
            plane.use_sa,
            plane.sa_stats,
            plane.export_sa,
            plane.remove_sa,
            lambda n: plane.add_session(session(n, 1)),
            lambda n: plane.update_session(n, session(0, 1)),
            lambda n: plane.set_mppe(n, MppeKeys(True, 128, True, START_OUT)),
            lambda n: plane.close_mppe(n, outbound=True),
            lambda n: plane.export_mppe(n, outbound=True),
            plane.flush_mppe,
            plane.session_stats,
            plane.remove_session,
        ]
        for call in calls:
            for index in (0, 1023, 1024, 4096, 0x7FFFFFFF, 0xFFFFFFFF):
                with pytest.raises(NoSuchRecord):
                    call(index)


def test_sas_that_are_refused() -> None:
    with DataPlane() as plane:
        peer = plane.add_peer(PEER)
        good = CBC.keys(0x1000, outbound=False)
        refused = [
            replace(good, spi=0),
            replace(good, spi=255),
            replace(good, auth=Auth.NONE, auth_key=b""),
            replace(good, cipher=Cipher.NULL, enc_key=b"", auth=Auth.NONE, auth_key=b""),
            replace(GCM.keys(0x1000, outbound=False), auth=Auth.HMAC_SHA1_96, auth_key=bytes(20)),
            replace(good, enc_key=good.enc_key[:-1]),
            replace(good, enc_key=good.enc_key + b"x"),
            replace(good, enc_key=b""),
            replace(good, auth_key=good.auth_key[:-1]),
            replace(good, auth_key=b""),
            replace(GCM.keys(0x1000, outbound=False), enc_key=bytes(16)),
            replace(good, enc_key=bytes(37)),
            replace(good, auth_key=bytes(65)),
            replace(good, spi=1 << 32),
        ]
        for keys in refused:
            with pytest.raises(DataPlaneError) as caught:
                plane.add_sa(peer, keys)
            assert str(caught.value)
        for window in (0, 31, 33, 4097, 4128, 65535, 65536):
            with pytest.raises(DataPlaneError):
                plane.add_sa(peer, good, replay_window=window)
        with pytest.raises(DataPlaneError):
            plane.add_sa(peer, good, seq=1 << 32)
        plane.add_sa(peer, good, replay_window=32, seq=(1 << 32) - 1)
        with pytest.raises(InUse):
            plane.add_sa(peer, good)
        same = replace(good, outbound=True)
        plane.add_sa(peer, same)
        plane.add_sa(peer, same)  # outbound SPIs are the peer's to choose
        with pytest.raises(DataPlaneError):
            plane.use_sa(0)


def test_unknown_numbers_of_transforms() -> None:
    with DataPlane() as plane:
        plane.add_peer(PEER)
        config = ffi.new("struct hr_sa_config *")
        config.spi, config.replay_window, config.enc_key_len, config.auth_key_len = 4096, 64, 16, 20
        index = ffi.new("uint32_t *")
        for cipher, auth in ((5, 2), (255, 2), (3, 7), (3, 255)):
            config.cipher, config.auth = cipher, auth
            assert lib.hr_sa_add(plane.handle, config, index) == lib.HR_E_ARGUMENT
        config.cipher, config.auth, config.outbound = 3, 2, 2
        assert lib.hr_sa_add(plane.handle, config, index) == lib.HR_E_ARGUMENT
        config.outbound = 0
        assert lib.hr_sa_add(plane.handle, config, index) == 0


def test_sessions_that_are_refused() -> None:
    with DataPlane() as plane:
        peer = plane.add_peer(PEER)
        first = plane.add_session(session(peer, 1, own4=OWN4, own6=IPv6Network("2001:db8::/64")))
        for taken in ({"number": 1}, {"number": 2, "own4": OWN4}, {"number": 2, "own6": IPv6Network("2001:db8::/64")}):
            with pytest.raises(InUse):
                plane.add_session(session(peer, **taken))
        other = plane.add_session(session(peer, 2, own4=IPv4Address("10.9.0.77"), own6=IPv6Network("2001:db8::/65")))
        with pytest.raises(InUse):
            plane.update_session(other, session(peer, 2, own4=IPv4Address("10.9.0.77"), own6=IPv6Network("2001:db8::/64")))
        for changed in (session(peer + 1, 2), session(peer, 3), replace(session(peer, 2), local_tunnel=2)):
            with pytest.raises(DataPlaneError, match="out of range"):
                plane.update_session(other, changed)
        with pytest.raises(DataPlaneError):
            plane.add_session(session(peer, 70000))
        with pytest.raises(DataPlaneError):
            plane.add_session(session(peer, 4, mppe_policy=3))
        plane.remove_session(first)
        plane.add_session(session(peer, 1, own4=OWN4, own6=IPv6Network("2001:db8::/64")))


def test_peers_that_are_refused() -> None:
    with DataPlane() as plane:
        for config in (replace(PEER, listener=16), replace(PEER, listener=300), replace(PEER, l2tp_port=65536)):
            with pytest.raises(DataPlaneError):
                plane.add_peer(config)
        raw = ffi.new("struct hr_peer_config *")
        index = ffi.new("uint32_t *")
        for family in (0, 1, 5, 255):
            raw.remote.family = family
            assert lib.hr_peer_add(plane.handle, raw, index) == lib.HR_E_ARGUMENT
        endpoint = ffi.new("struct hr_endpoint *")
        endpoint.family = 5
        assert lib.hr_dp_listener(plane.handle, 0, endpoint) == lib.HR_E_ARGUMENT
        endpoint.family = 4
        assert lib.hr_dp_listener(plane.handle, 16, endpoint) == lib.HR_E_ARGUMENT


def test_peer_is_what_was_set() -> None:
    with DataPlane() as plane:
        for config in (
            PeerConfig(
                Endpoint.of("2001:db8::7", 4500), listener=15, udp_encap=True, follow=True, l2tp_port=1, cookie=2**64 - 1
            ),
            PeerConfig(Endpoint.of("198.51.100.1", 0)),
        ):
            index = plane.add_peer(config)
            assert plane.peer(index) == config
            plane.update_peer(index, replace(config, cookie=3, listener=2))
            assert plane.peer(index) == replace(config, cookie=3, listener=2)


def test_a_peer_takes_all_it_has_along() -> None:
    with world() as w:
        good = w.wire(ip4())
        w.plane.remove_peer(w.peer)
        assert w.decap1(good)[0] == "drop_esp_spi"
        assert w.encap([ip4_out()])[0][0] == "drop_l2tp_session"
        assert w.encap([ip4_out()], session=0x7FFFFFFF)[0][0] == "drop_no_route"
        for call, index in ((w.plane.remove_session, w.session), (w.plane.remove_sa, w.sa_in), (w.plane.remove_sa, w.sa_out)):
            with pytest.raises(NoSuchRecord):
                call(index)


def test_sa_can_leap() -> None:
    for transform in (CBC, GCM, replace(CBC, esn=True)):
        with world(transform) as w, world(transform) as elsewhere:
            w.encap([ip4_out()] * 5)
            w.decap([w.wire(ip4()) for _ in range(5)])
            out, inbound = w.plane.export_sa(w.sa_out), w.plane.export_sa(w.sa_in)
            assert (out.seq, inbound.seq, out.keys, inbound.keys) == (5, 5, w.ours.keys, w.theirs.keys)
            assert "enc_key" not in repr(out)
            elsewhere.plane.remove_sa(elsewhere.sa_in)
            elsewhere.plane.use_sa(elsewhere.plane.import_sa(elsewhere.peer, out.leap(1000)))
            elsewhere.plane.import_sa(elsewhere.peer, inbound.leap(1000))
            ((_, packet),) = elsewhere.encap([ip4_out()])
            assert int.from_bytes(packet[4:8]) == 1006
            old = esp.Sa(w.theirs.keys).seal(w.frame_in(l2tp.ppp(0x21, ip4())), seq=5)
            assert elsewhere.decap1(old)[0] == "drop_esp_replay", "the window opens at the highest seen"
            assert elsewhere.decap1(w.wire(ip4()))[0] == "ok"


def test_mppe_can_leap() -> None:
    with world() as w, world() as elsewhere:
        w.open_mppe()
        elsewhere.update(mppe_policy=1)
        far = receiver()
        for _ in range(5000 // 500):
            for _, packet in w.encap([ip4_out()] * 500):
                far.open(w.unwrap(packet)[4:])
        record = w.plane.export_mppe(w.session, outbound=True)
        assert record is not None
        assert (record.count, record.keys.bits, record.keys.stateless) == (5000 % 4096, 128, True)
        elsewhere.plane.import_mppe(elsewhere.session, record.leap(300))
        for _, packet in elsewhere.encap([ip4_out()] * 3):
            assert far.open(elsewhere.unwrap(packet)[4:]) == b"\x00\x21" + ip4_out()
        assert far.count == (5000 + 300 + 3) % 4096
        assert w.plane.export_mppe(w.session, outbound=False) is not None
        w.plane.close_mppe(w.session, outbound=False)
        assert w.plane.export_mppe(w.session, outbound=False) is None


def test_mppe_settings_that_are_refused() -> None:
    with world() as w:
        for bits, key in ((64, bytes(16)), (128, bytes(15)), (40, bytes(7)), (0, bytes(16))):
            with pytest.raises(DataPlaneError):
                w.plane.set_mppe(w.session, MppeKeys(True, bits, True, key))
        for count in (4096, 65536, -1):
            with pytest.raises(DataPlaneError):
                w.plane.set_mppe(w.session, MppeKeys(True, 128, True, bytes(16)), count=count)
        with pytest.raises(DataPlaneError):
            w.plane.import_mppe(w.session, MppeRecord(MppeKeys(True, 128, True, bytes(16)), 0, 4096, bytes(16)))
        assert w.plane.export_mppe(w.session, outbound=True) is None


def test_session_stats() -> None:
    with world() as w:
        w.decap([w.wire(ip4(n)) for n in (0, 10, 20)])
        w.now += 5
        w.encap([ip4_out(7)])
        w.now += 5
        w.decap([w.wire(ip4(destination="127.0.0.1")), w.theirs.seal(w.frame_in(b"\xc0\x21\x09\x00\x00\x04"))])
        stats = w.plane.session_stats(w.session)
        assert (stats.rx_packets, stats.rx_bytes, stats.rx_dropped) == (3, 90, 1)
        assert (stats.tx_packets, stats.tx_bytes, stats.tx_dropped) == (1, 27, 0)
        assert (stats.last_rx_ns, stats.last_tx_ns, stats.last_data_ns) == (w.now, w.now - 5, w.now - 5)


def test_counters_count_everything_once() -> None:
    with world() as w:
        packets = [w.wire(ip4()), b"\xff", b"", bytes(100), w.wire(ip4())[:-1] + b"!"]
        w.decap(packets)
        w.encap([ip4_out(), b"x"])
        counters = w.plane.counters()
        assert {label: n for label, (n, _) in counters.items() if n} == {
            "ok": 2,
            "keepalive": 1,
            "drop_esp_short": 1,
            "drop_natt_marker": 1,
            "drop_esp_auth": 1,
            "drop_ip_malformed": 1,
        }
        assert counters["ok"][1] == len(ip4()) + w.batch.desc["len"][0]
        assert counting.lost(counters) == 4
        assert set(counters) == set(STATUS.values())


def test_closed() -> None:
    plane = DataPlane(max_peers=1, max_sas=1, max_sessions=1)
    plane.close()
    plane.close()
    with pytest.raises(LocalError, match="closed"):
        plane.counters()


def test_impossible_sizes() -> None:
    for sizes in (
        {"max_peers": 0},
        {"max_sas": 0},
        {"max_sessions": 0},
        {"max_peers": 1 << 23},
        {"max_sas": -1},
        {"max_sas": 1 << 32},
    ):
        with pytest.raises(DataPlaneError):
            DataPlane(**sizes)  # type: ignore[arg-type]


def test_fifty_thousand_sessions() -> None:
    """Lookups stay what they are, and removing in any order leaves no holes that hide others."""
    rng = random.Random(5)
    with DataPlane(max_peers=1, max_sas=1, max_sessions=50_000) as plane:
        peer = plane.add_peer(PEER)
        numbers = {
            n: plane.add_session(SessionConfig(peer, n, 1, n, 1, own4=IPv4Address(0x0A000000 + n))) for n in range(1, 50_001)
        }
        with pytest.raises(TableFull):
            plane.add_session(SessionConfig(peer, 1, 2, 1, 1))
        order = list(numbers)
        rng.shuffle(order)
        for n in order[:40_000]:
            plane.remove_session(numbers[n])
        for n in order[:40_000:100]:
            with pytest.raises(NoSuchRecord):
                plane.session_stats(numbers[n])
        for n in order[:40_000]:
            plane.add_session(SessionConfig(peer, n, 1, n, 1, own4=IPv4Address(0x0A000000 + n)))
        with pytest.raises(InUse):
            plane.update_session(
                numbers[order[-1]], SessionConfig(peer, order[-1], 1, 5, 5, own4=IPv4Address(0x0A000000 + order[0]))
            )


def test_bad_descriptor_is_a_local_error() -> None:
    assert issubclass(BadDescriptor, LocalError)


def test_events_are_told_once_for_each_record_and_not_for_the_dead() -> None:
    with world(limits={"soft_bytes": 10}) as w:
        w.encap([ip4_out()])
        w.decap([w.wire(ip4())])
        w.plane.remove_sa(w.sa_in)
        assert [event.sa for event in w.plane.events()] == [w.sa_out]
    with world(limits={"soft_bytes": 10}) as w:
        w.encap([ip4_out()])
        w.decap([w.wire(ip4())])
        assert [event.sa for event in w.plane.events(1)] == [w.sa_out]
        assert [event.sa for event in w.plane.events(1)] == [w.sa_in]
        assert w.plane.events() == []
