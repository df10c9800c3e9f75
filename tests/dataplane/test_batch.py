"""Batches: neighbours are left alone, descriptors are checked before anything is touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.dataplane.world import CBC, GCM, REMOTE, ip4, ip4_out, world
from tests.oracle import esp, l2tp

from headrace.dataplane.batch import BATCH_MAX, DESC, Batch
from headrace.dataplane.native import NONE, BadDescriptor, DataPlaneError, lib
from headrace.errors import LocalError
from headrace.model import Auth, Cipher

SHA256 = esp.Transform(Cipher.AES_CBC, 32, Auth.HMAC_SHA2_256_128)


@pytest.mark.parametrize("transform", [CBC, GCM, SHA256], ids=str)
def test_n079_one_bad_packet_at_every_position(transform: esp.Transform) -> None:
    with world(transform, window=4096) as w:
        sizes = [n % 90 for n in range(BATCH_MAX)]
        good = [w.wire(ip4(size)) for size in sizes]
        bad = bytearray(w.wire(ip4(60)))
        bad[-3] ^= 4
        batch = w.batch
        for position in range(0, BATCH_MAX, 1 if transform is CBC else 37):
            record = w.plane.export_sa(w.sa_in)
            w.plane.remove_sa(w.sa_in)
            w.sa_in = w.plane.import_sa(w.peer, replace(record, seq=0))
            packets = [*good[:position], bytes(bad), *good[position + 1 :]]
            batch.load(packets, lib.HR_KIND_UDP4500, remote=REMOTE)
            w.plane.decap(batch, w.now)
            status = batch.desc["status"]
            assert status[position] == lib.HR_DROP_ESP_AUTH
            assert np.count_nonzero(status == lib.HR_OK) == BATCH_MAX - 1
            for near in {max(position - 1, 0), min(position + 1, BATCH_MAX - 1), 0, BATCH_MAX - 1} - {position}:
                assert batch.packet(near) == ip4(sizes[near])
        assert [batch.packet(n) for n in range(BATCH_MAX - 1) if n != position] == [
            ip4(sizes[n]) for n in range(BATCH_MAX - 1) if n != position
        ]


def test_n079_all_bad_none_and_too_many() -> None:
    with world(window=1024) as w:
        good = [w.wire(ip4()) for _ in range(BATCH_MAX)]
        bad = [packet[:-1] + bytes([packet[-1] ^ 1]) for packet in good]
        assert set(w.decap(bad)) == {("drop_esp_auth", packet) for packet in bad}
        assert w.decap([]) == []
        assert w.encap([]) == []
        w.batch.pointer.n = 513
        for call in (w.plane.decap, w.plane.encap):
            with pytest.raises(DataPlaneError, match="out of range"):
                call(w.batch, 0)
        with pytest.raises(LocalError, match="513"):
            w.batch.resize(513)
        w.batch.resize(0)
        assert w.decap1(w.wire(ip4()))[0] == "ok"


def test_batch_of_one_is_the_same_as_one_of_many() -> None:
    for transform in (CBC, GCM, SHA256):
        with world(transform, window=4096) as many, world(transform, window=4096) as one:
            packets = [many.wire(ip4(n * 13 % 1400)) for n in range(64)]
            assert many.decap(packets) == [one.decap([packet])[0] for packet in packets]


def test_slots_keep_to_themselves() -> None:
    """Neither call writes outside of a slot, whatever its neighbours hold."""
    with world() as w:
        batch = Batch(4, slot=600)
        batch.load([ip4_out(n) for n in (0, 3, 300, 100)], lib.HR_KIND_IP, session=w.session)
        batch.arena[:] = np.where(batch.arena == 0, 0xA5, batch.arena)
        batch.load([ip4_out(n) for n in (0, 3, 300, 100)], lib.HR_KIND_IP, session=w.session)
        batch.desc["room_head"][1] = 52
        batch.desc["room_tail"][1] = 49
        before = batch.arena.copy()
        w.plane.encap(batch, w.now)
        assert batch.statuses() == ["ok"] * 4
        start = int(batch.desc["off"][1])
        for index in range(4):
            first, last = int(batch.desc["off"][index]), int(batch.desc["off"][index]) + int(batch.desc["len"][index])
            low, high = index * 600, (index + 1) * 600
            assert low <= first < last <= high
            assert (batch.arena[low:first] == before[low:first]).all()
            assert (batch.arena[last:high] == before[last:high]).all()
        assert start >= 600 + 128 - 52


@pytest.mark.parametrize("transform", [CBC, GCM, SHA256], ids=str)
def test_room_that_is_too_small(transform: esp.Transform) -> None:
    with world(transform) as w:
        need_head = 8 + 12 + 8 + 8 + esp.IV[transform.cipher]
        need_tail = esp.BLOCK[transform.cipher] - 1 + 2 + w.ours.icv_len
        for head, tail, expected in (
            (need_head, need_tail, "ok"),
            (need_head - 1, need_tail, "drop_room"),
            (need_head, need_tail - 1, "drop_room"),
            (0, 0, "drop_room"),
        ):
            w.batch.load([ip4_out()], lib.HR_KIND_IP, session=w.session)
            w.batch.desc["room_head"][0], w.batch.desc["room_tail"][0] = head, tail
            w.plane.encap(w.batch, w.now)
            assert w.batch.statuses() == [expected]
        assert w.plane.sa_stats(w.sa_out).seq == 1, "no number was drawn for what could not be sent"


def test_headroom_is_enough_for_everything() -> None:
    with world(send_length=True, send_sequence=True) as w:
        w.open_mppe()
        assert w.encap([ip4_out()])[0][0] == "ok"
        assert lib.HR_HEADROOM >= 8 + 12 + 8 + 8 + 16 + 8 + 12  # and UDP of the outside, and virtio
        assert lib.HR_TAILROOM >= 15 + 2 + 32


BAD = {
    "offset behind the arena": {"off": 1 << 20},
    "offset far behind": {"off": 0xFFFFFFF0},
    "length past the end": {"len": 60000},
    "negative length": {"len": 0xFFFFFFFF},
    "longer than any packet": {"len": 65536},
    "room before the beginning": {"off": 100},
    "room past the end": {"room_tail": 65535},
    "no kind": {"kind": 0},
    "a kind of the other direction": {"kind": 18},
    "an unknown kind": {"kind": 77},
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("position", [0, 3, 7])
def test_n080_descriptors_that_lead_outside(what: str, position: int) -> None:
    with world() as w:
        batch = Batch(8, slot=700)
        for kind, call in ((lib.HR_KIND_UDP4500, w.plane.decap), (lib.HR_KIND_IP, w.plane.encap)):
            batch.load([bytes(300)] * 8, kind, session=w.session)
            for field, value in BAD[what].items():
                batch.desc[field][position] = value
            before = batch.arena.copy()
            with pytest.raises(BadDescriptor, match=f"descriptor {position}: ") as caught:
                call(batch, 0)
            assert caught.value.index == position
            assert (batch.arena == before).all()
        assert sum(packets for packets, _ in w.plane.counters().values()) == 0


def test_n080_two_descriptors_on_the_same_octets() -> None:
    with world() as w:
        batch = Batch(8, slot=700)

        def load() -> None:
            batch.load([bytes(300)] * 8, lib.HR_KIND_UDP4500)

        def refused() -> int:
            with pytest.raises(BadDescriptor) as caught:
                w.plane.decap(batch, 0)
            return caught.value.index

        load()
        batch.desc["off"][5] = batch.desc["off"][2]
        assert refused() == 5
        load()
        batch.desc["off"][6] -= 1
        assert refused() == 6
        load()
        batch.desc[0], batch.desc[7] = batch.desc[7].copy(), batch.desc[0].copy()
        w.plane.decap(batch, 0)  # any order is fine
        load()
        batch.desc[:] = batch.desc[::-1].copy()
        batch.desc["off"][4] += 1
        assert refused() in {3, 4}
        load()
        for index in range(8):
            batch.desc["off"][index], batch.desc["len"][index] = 1000, 0
            batch.desc["room_head"][index] = batch.desc["room_tail"][index] = 0
        w.plane.decap(batch, 0)  # nothing cannot overlap
        assert batch.statuses() == ["drop_esp_short"] * 8


def test_overlaps_are_found_in_any_order() -> None:
    rng = np.random.default_rng(7)
    with world() as w:
        batch = Batch(512, slot=256)
        for _ in range(20):
            batch.load([bytes(8)] * 512, lib.HR_KIND_UDP4500)
            batch.desc[:] = batch.desc[rng.permutation(512)]
            w.plane.decap(batch, 0)
            batch.desc["kind"] = lib.HR_KIND_UDP4500
            batch.desc["off"][int(rng.integers(512))] += 4
            with pytest.raises(BadDescriptor):
                w.plane.decap(batch, 0)


def test_descriptor_type_is_the_librarys() -> None:
    assert DESC.itemsize == 64
    assert Batch(3).desc.ctypes.data % 64 == 0
    assert DESC["remote"].itemsize == 20
    assert DESC.fields is not None
    assert DESC.fields["ppp_proto"][1] == DESC.fields["l2tp_local_port"][1], "they share their place"


def test_batch_limits() -> None:
    for capacity, slot in ((0, 2048), (513, 2048), (4, 224), (4, 1 << 21)):
        with pytest.raises(LocalError):
            Batch(capacity, slot)
    batch = Batch(2, slot=300)
    with pytest.raises(LocalError, match="octets"):
        batch.load([bytes(77)], lib.HR_KIND_IP)
    with pytest.raises(LocalError):
        batch.load([b""] * 3, lib.HR_KIND_IP)
    batch.load([b"one", b"two"], lib.HR_KIND_IP, remote=REMOTE)
    assert batch.packets() == [b"one", b"two"]
    assert (batch.kinds(), len(batch), batch.remote(1)) == (["ip", "ip"], 2, REMOTE)
    assert [int(cookie) for cookie in batch.desc["cookie"]] == [0, 1]


def test_cookies_come_back() -> None:
    with world() as w:
        w.batch.load([ip4_out()] * 3, lib.HR_KIND_IP, session=w.session)
        w.batch.desc["cookie"][:3] = [7, 0xFFFFFFFF, 9]
        w.plane.encap(w.batch, 0)
        assert [int(cookie) for cookie in w.batch.desc["cookie"][:3]] == [7, 0xFFFFFFFF, 9]


def test_what_came_out_can_go_in_again() -> None:
    """Rooms follow the packet: a decapsulated packet has enough for being encapsulated where it lies."""
    with world() as w:
        other = w.plane.add_session(replace(w.config, local_session=2, own4=None, own6=None))
        w.batch.load([w.wire(ip4(500))], lib.HR_KIND_UDP4500, remote=REMOTE)
        w.plane.decap(w.batch, 0)
        assert w.batch.kinds() == ["ip"]
        w.batch.desc["session"][0] = other
        w.plane.encap(w.batch, 0)
        assert w.batch.statuses() == ["ok"]
        assert l2tp.parse_data(w.open_esp(w.batch.packet(0))).frame == l2tp.ppp(0x21, ip4(500))
        assert NONE == 0x7FFFFFFF
