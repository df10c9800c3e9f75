"""ESP through the whole pipeline: lengths, numbers, integrity, padding, limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.dataplane.world import CBC, GCM, World, ip4, ip4_out, world
from tests.oracle import esp, l2tp

from headrace.dataplane.native import lib
from headrace.model import Auth, Cipher

EACH_CIPHER = [
    esp.Transform(Cipher.NULL, 0, Auth.HMAC_SHA1_96),
    esp.Transform(Cipher.DES_CBC, 8, Auth.HMAC_MD5_96),
    esp.Transform(Cipher.TRIPLE_DES_CBC, 24, Auth.HMAC_SHA1_96),
    esp.Transform(Cipher.AES_CBC, 32, Auth.HMAC_SHA2_256_128, esn=True),
    esp.Transform(Cipher.AES_CBC, 24, Auth.HMAC_SHA2_512_256),
    GCM,
    replace(GCM, esn=True),
]
RAW6 = lib.HR_KIND_RAW6


@pytest.mark.parametrize("transform", EACH_CIPHER, ids=str)
def test_n061_packets_too_short_to_be_esp(transform: esp.Transform) -> None:
    with world(transform) as w:
        iv, icv = esp.IV[transform.cipher], w.theirs.icv_len
        head = w.theirs.keys.spi.to_bytes(4) + bytes([0, 0, 0, 1])
        for size in (*range(8), 8, 8 + iv, 8 + iv + icv - 1, 8 + iv + icv):
            packet = (head + bytes(96))[:size]
            assert w.decap1(packet, RAW6)[0] == "drop_esp_short", size
        assert w.decap1(w.wire(ip4()), RAW6)[0] == "ok"


@pytest.mark.parametrize("transform", EACH_CIPHER, ids=str)
def test_n062_ciphertext_that_is_no_multiple_of_the_block(transform: esp.Transform) -> None:
    with world(transform) as w:
        good = w.wire(ip4())
        block = esp.BLOCK[transform.cipher]
        for more in range(1, block):
            assert w.decap1(good + bytes(more))[0] == "drop_esp_length"
        assert w.plane.sa_stats(w.sa_in).auth_failed == 0
        assert w.decap1(good)[0] == "ok"


def test_n063_unknown_spi() -> None:
    with world() as w:
        stranger = esp.Sa(CBC.keys(0x7777, outbound=True))
        assert w.decap1(stranger.seal(b"hello"))[0] == "drop_esp_spi"
        outbound = esp.Sa(w.ours.keys)  # an outbound SA is not found by what comes in
        assert w.decap1(outbound.seal(b"hello"))[0] == "drop_esp_spi"


@pytest.mark.parametrize("transform", EACH_CIPHER, ids=str)
def test_n064_every_single_bit_flipped(transform: esp.Transform) -> None:
    with world(transform, window=4096) as w:
        good = w.wire(ip4(8), seq=5000)
        flipped = [
            good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :] for at in range(4, len(good)) for bit in range(8)
        ]  # the SPI's own bits make it unknown
        got: list[str] = []
        for first in range(0, len(flipped), 512):
            got += [status for status, _ in w.decap(flipped[first : first + 512])]
        # a sequence number that is flipped downwards is behind the window before the ICV is looked at
        numbers = [int.from_bytes(packet[4:8]) for packet in flipped]
        behind = [not transform.esn and number + 4096 <= 0 for number in numbers]
        assert all(
            status == "drop_esp_auth" or (late and status == "drop_esp_replay")
            for status, late in zip(got, behind, strict=True)
        )
        assert w.decap1(good)[0] == "ok"


def test_n065_icv_of_zeros_cut_or_of_the_other_length() -> None:
    with world(replace(CBC, auth=Auth.HMAC_SHA2_256_128)) as w:
        good = w.wire(ip4())
        assert w.decap1(good[:-16] + bytes(16))[0] == "drop_esp_auth"
        assert w.decap1(good[:-1])[0] == "drop_esp_length"
        assert w.decap1(good[:-4])[0] == "drop_esp_length"
        narrow = esp.Sa(replace(w.theirs.keys, auth=Auth.HMAC_SHA2_256_96))
        assert w.decap1(narrow.seal(bytes(30)))[0] == "drop_esp_length"
        assert w.decap1(good)[0] == "ok"
    with world(replace(GCM)) as w:  # the same lengths modulo the block: only the ICV can tell
        good = w.wire(ip4())
        for cut in (4, 8, 12):
            assert w.decap1(good[:-cut])[0] == "drop_esp_auth"


@pytest.mark.parametrize("window", [32, 64, 96, 1024, 4096])
def test_n066_replay(window: int) -> None:
    with world(window=window) as w:
        top = 10_000

        def send(seq: int) -> str:
            return w.decap1(w.wire(ip4(), seq=seq))[0]

        assert send(top) == "ok"
        assert send(top) == "drop_esp_replay"
        for behind in sorted({1, 31, 63, 64, window // 2, window - 1}):
            expected = "ok" if behind < window else "drop_esp_replay"
            assert send(top - behind) == expected, behind
            assert send(top - behind) == "drop_esp_replay", behind
        for behind in (window, window + 1, window + 64, top - 1):
            assert send(top - behind) == "drop_esp_replay", behind
        assert send(top + 3 * window) == "ok"
        assert send(top + 2 * window + 1) == "ok"
        assert send(top + 2 * window) == "drop_esp_replay"
        assert send(top + 3 * window - 1) == "ok"


def test_replay_twice_in_one_batch() -> None:
    with world() as w:
        packets = [w.wire(ip4()) for _ in range(8)]
        doubled = [packet for packet in packets for _ in range(2)]
        assert [status for status, _ in w.decap(doubled)] == ["ok", "drop_esp_replay"] * 8
        assert w.plane.sa_stats(w.sa_in).replayed == 8


def test_n067_bad_icv_does_not_move_the_window() -> None:
    with world() as w:
        assert w.decap1(w.wire(ip4()))[0] == "ok"
        far = bytearray(w.wire(ip4(), seq=1_000_001))
        far[-1] ^= 1
        assert w.decap1(bytes(far))[0] == "drop_esp_auth"
        assert w.plane.sa_stats(w.sa_in).seq == 1
        assert w.decap1(w.wire(ip4()))[0] == "ok"


@pytest.mark.parametrize("esn", [False, True])
def test_n068_sequence_number_zero(esn: bool) -> None:
    with world(replace(CBC, esn=esn)) as w:
        assert w.decap1(w.wire(ip4(), seq=0))[0] == "drop_esp_replay"
        assert w.decap1(w.wire(ip4()))[0] == "ok"


def test_n069_send_counter_at_its_end() -> None:
    with world(seq_out=2**32 - 3) as w:  # the next number is 2^32 - 2
        assert [status for status, _ in w.encap([ip4_out()] * 5)] == ["ok", "ok"] + ["drop_esp_seq_exhausted"] * 3
        assert w.encap([ip4_out()])[0][0] == "drop_esp_seq_exhausted"
        assert w.plane.sa_stats(w.sa_out).seq == 2**32 - 1
        assert [(event.what, event.sa) for event in w.plane.events()] == [("exc_soft_limit", w.sa_out)]


def test_rekey_is_asked_for_at_three_quarters_of_the_numbers() -> None:
    with world(seq_out=3 * 2**30 - 2, seq_in=3 * 2**30 - 2) as w:
        w.encap([ip4_out()])
        w.decap([w.wire(ip4())])
        assert w.plane.events() == []
        w.encap([ip4_out()])
        (event,) = w.plane.events()
        assert (event.what, event.sa, event.peer, event.cookie) == ("exc_soft_limit", w.sa_out, w.peer, 77)
        w.decap([w.wire(ip4())])
        assert [event.sa for event in w.plane.events()] == [w.sa_in]
        w.encap([ip4_out()] * 3)
        assert w.plane.events() == [], "once per SA"


@pytest.mark.parametrize("transform", [CBC, GCM, EACH_CIPHER[0]], ids=str)
def test_n070_padding_with_a_right_icv(transform: esp.Transform) -> None:
    with world(transform) as w:
        payload = w.frame_in(l2tp.ppp(0x21, ip4(9)))
        right = bytes(range(1, 1 + -(len(payload) + 2) % esp.BLOCK[transform.cipher]))
        wrong = [bytes(len(right)), bytes(reversed(right)), bytes(range(len(right))), right[:-1] + b"\xff"]
        for padding in wrong:
            if padding != right:
                assert w.decap1(w.theirs.seal(payload, padding=padding))[0] == "drop_esp_padding"
        assert w.decap1(w.theirs.seal(payload, padding=right))[0] == "ok"
        long = bytes(range(1, 256))[: len(right) + 15 * 16]
        assert w.decap1(w.theirs.seal(payload, padding=long)) == ("ok", ip4(9))


@pytest.mark.parametrize("transform", [CBC, GCM], ids=str)
def test_n071_pad_length_past_the_beginning(transform: esp.Transform) -> None:
    with world(transform) as w:
        text = bytes(range(1, 31))  # 30 + 2
        for pad_length in (31, 32, 254, 255):
            assert w.decap1(w.theirs.seal(text, padding=b"", pad_length=pad_length))[0] == "drop_esp_padding"
        # padding up to the very beginning is right, and leaves nothing for UDP
        assert w.decap1(w.theirs.seal(b"", padding=text, pad_length=30))[0] == "drop_udp_length"


def test_n072_next_headers() -> None:
    with world() as w:
        for next_header in (0, 1, 4, 6, 41, 50, 58, 255):
            assert w.decap1(w.theirs.seal(ip4(), next_header=next_header))[0] == "drop_esp_next_header"
        assert w.decap1(w.theirs.seal(bytes(50), next_header=59))[0] == "dummy"
        assert w.decap1(w.theirs.seal(b"", next_header=59, padding=bytes(range(1, 15))))[0] == "dummy"


def test_esn_over_the_halves() -> None:
    for transform in (replace(CBC, esn=True), replace(GCM, esn=True)):
        with world(transform, seq_in=2**32 - 3, seq_out=2**32 - 3, window=64) as w:
            packets = [w.wire(ip4(n)) for n in range(6)]
            assert [status for status, _ in w.decap(packets[:2] + packets[3:])] == ["ok"] * 5
            assert w.decap1(packets[2])[0] == "ok", "one half behind the top, inside the window"
            assert w.decap1(packets[1])[0] == "drop_esp_replay"
            assert w.plane.sa_stats(w.sa_in).seq == 2**32 + 3
            out = [packet for _, packet in w.encap([ip4_out(n) for n in range(4)])]
            assert [int.from_bytes(packet[4:8]) for packet in out] == [2**32 - 2, 2**32 - 1, 0, 1]
            highs = [0, 0, 1, 1]
            assert [w.unwrap(packet, high)[4:] for packet, high in zip(out, highs, strict=True)] == [
                ip4_out(n) for n in range(4)
            ]
            assert [int(seq) for seq in w.batch.desc["seq"][:4]] == [2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1]


def test_esn_far_behind_is_taken_for_the_next_half_and_fails() -> None:
    with world(replace(GCM, esn=True), seq_in=5 * 2**32 + 1000) as w:
        assert w.decap1(w.wire(ip4(), seq=5 * 2**32 + 10))[0] == "drop_esp_auth"
        assert w.decap1(w.wire(ip4(), seq=5 * 2**32 + 1001))[0] == "ok"


def test_hard_limit() -> None:
    with world(limits={"hard_bytes": 1000, "soft_bytes": 500}) as w:
        size = len(w.wire(ip4(100)))
        fits = 1000 // size
        assert [s for s, _ in w.decap([w.wire(ip4(100)) for _ in range(10)])] == ["ok"] * fits + ["drop_sa_expired"] * (
            10 - fits
        )
        assert w.decap1(w.wire(ip4(100)))[0] == "drop_sa_expired"
        out = w.encap([ip4_out(100)] * 10)
        assert [s for s, _ in out] == ["ok"] * fits + ["drop_sa_expired"] * (10 - fits)
        assert w.plane.sa_stats(w.sa_out).bytes == w.plane.sa_stats(w.sa_in).bytes == fits * size
        assert {event.sa for event in w.plane.events()} == {w.sa_in, w.sa_out}


def test_soft_packets() -> None:
    with world() as w:
        index = w.plane.add_sa(w.peer, CBC.keys(0x3000, outbound=True), soft_packets=3)
        w.plane.use_sa(index)
        w.encap([ip4_out()] * 2)
        assert w.plane.events() == []
        w.encap([ip4_out()])
        assert [event.sa for event in w.plane.events()] == [index]


def test_first_packet_of_an_sa_is_marked() -> None:
    with world() as w:
        w.decap([w.wire(ip4()) for _ in range(3)])
        assert [int(flags) & lib.HR_FLAG_FIRST for flags in w.batch.desc["flags"][:3]] == [lib.HR_FLAG_FIRST, 0, 0]
        w.decap([w.wire(ip4())])
        assert not int(w.batch.desc["flags"][0]) & lib.HR_FLAG_FIRST


def test_no_outbound_sa() -> None:
    with world() as w:
        w.plane.remove_sa(w.sa_out)
        assert w.encap([ip4_out()])[0][0] == "drop_no_sa"


def test_ivs_are_never_the_same() -> None:
    with world() as w:
        packets = [packet for _, packet in w.encap([ip4_out()] * 512)]
        assert len({packet[8:24] for packet in packets}) == 512
        assert [int.from_bytes(packet[4:8]) for packet in packets] == list(range(1, 513))


def test_tails_beyond_the_length_of_udp_are_flow_padding() -> None:
    with world() as w:
        payload = w.frame_in(l2tp.ppp(0x21, ip4()))
        assert w.decap1(w.theirs.seal(payload + bytes(77))) == ("ok", ip4())


def test_stats_of_an_sa() -> None:
    with world() as w:
        good = [w.wire(ip4()) for _ in range(4)]
        bad = w.wire(ip4())[:-1] + b"?"
        w.decap([*good, bad, good[0]])
        stats = w.plane.sa_stats(w.sa_in)
        assert (stats.packets, stats.bytes, stats.seq) == (4, sum(map(len, good)), 4)
        assert (stats.replayed, stats.auth_failed, stats.last_ns) == (1, 1, w.now)


def outcome(w: World, packets: list[bytes]) -> list[tuple[str, bytes]]:
    return [(status, data if status == "ok" else b"") for status, data in w.decap(packets)]


def test_rekeying_keeps_both_inbound_sas() -> None:
    with world() as w:
        young = esp.Sa(CBC.keys(0x1001, outbound=False))
        w.plane.add_sa(w.peer, young.keys)
        payload = w.frame_in(l2tp.ppp(0x21, ip4()))
        mixed = [sa.seal(payload) for _ in range(6) for sa in (w.theirs, young)]
        assert outcome(w, mixed) == [("ok", ip4())] * 12
        w.plane.remove_sa(w.sa_in)
        assert w.decap1(w.theirs.seal(payload))[0] == "drop_esp_spi"
        assert w.decap1(young.seal(payload))[0] == "ok"
