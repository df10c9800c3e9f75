"""ESP cryptography against OpenSSL: every length, alignment, batch size and level; mixed keys; forgeries."""

from __future__ import annotations

import itertools
import random

import pytest
from tests.kernels import esp_reference as ref
from tests.kernels.native import CANARY, CryptBatch, Islands, Key, Packet

from headrace.dataplane._native import ffi, lib

TRANSFORMS = [
    ref.Transform(ref.AES_CBC, 16, ref.SHA1_96),
    ref.Transform(ref.AES_CBC, 16, ref.SHA1_96, esn=True),
    ref.Transform(ref.AES_CBC, 24, ref.SHA384_192),
    ref.Transform(ref.AES_CBC, 32, ref.SHA256_128),
    ref.Transform(ref.AES_CBC, 32, ref.SHA256_128, esn=True),
    ref.Transform(ref.AES_CBC, 16, ref.SHA256_96),
    ref.Transform(ref.AES_CBC, 32, ref.SHA512_256, esn=True),
    ref.Transform(ref.AES_CBC, 16, ref.MD5_96, esn=True),
    ref.Transform(ref.AES_GCM, 20, ref.NO_AUTH),
    ref.Transform(ref.AES_GCM, 20, ref.NO_AUTH, esn=True),
    ref.Transform(ref.AES_GCM, 28, ref.NO_AUTH),
    ref.Transform(ref.AES_GCM, 36, ref.NO_AUTH, esn=True),
    ref.Transform(ref.TRIPLE_DES_CBC, 24, ref.SHA1_96),
    ref.Transform(ref.DES_CBC, 8, ref.MD5_96),
    ref.Transform(ref.NULL, 0, ref.SHA1_96),
    ref.Transform(ref.NULL, 0, ref.SHA512_256),
]
SIZES = (1, 7, 8, 9, 15, 16, 17, 32, 256, 512)
pytestmark = pytest.mark.usefixtures("level")


def name_of(t: ref.Transform) -> str:
    cipher = {ref.NULL: "null", ref.DES_CBC: "des", ref.TRIPLE_DES_CBC: "3des", ref.AES_CBC: "cbc", ref.AES_GCM: "gcm"}[
        t.cipher
    ]
    return (
        f"{cipher}{8 * t.key_len}-{ref.HASHES[t.auth][0] if t.auth else 'aead'}-{ref.icv_len(t.auth)}{'-esn' if t.esn else ''}"
    )


each_transform = pytest.mark.parametrize("transform", TRANSFORMS, ids=name_of)


def make_packets(
    transform: ref.Transform, lengths: list[int], keys: list[Key], rng: random.Random, place: str | None = None
) -> list[Packet]:
    packets = []
    for i, length in enumerate(lengths):
        seq = rng.getrandbits(40) if transform.esn else rng.getrandbits(32)
        packet = Packet(rng.choice(keys), rng.randbytes(length), seq, spi=rng.getrandbits(32))
        packet.place = place or (i * 5 + rng.randrange(16) * 64) % 1024 + i % 2
        packets.append(packet)
    return packets


@each_transform
def test_every_length_and_alignment(transform: ref.Transform, islands: Islands) -> None:
    rng = random.Random(1)
    block = ref.BLOCK[transform.cipher]
    lengths = list(range(block, 2048 + block + 1, block))
    rng.shuffle(lengths)
    keys = [Key(transform, rng) for _ in range(5)]
    sizes = itertools.cycle([17, 64, 128, 39])
    while lengths:
        take = next(sizes)
        CryptBatch(islands, make_packets(transform, lengths[:take], keys, rng)).round_trip()
        del lengths[:take]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("index", [0, 3, 9])
def test_every_batch_size_with_mixed_lengths_and_keys(index: int, size: int, islands: Islands) -> None:
    transform = TRANSFORMS[index]
    rng = random.Random(size)
    block = ref.BLOCK[transform.cipher]
    keys = [Key(transform, rng) for _ in range(min(size, 40))]
    lengths = [block * rng.choice([1, 2, 3, 4, 5, rng.randrange(1, 1424 // block)]) for _ in range(size)]
    CryptBatch(islands, make_packets(transform, lengths, keys, rng)).round_trip()


@pytest.mark.parametrize("size", [8, 33, 256])
@pytest.mark.parametrize("index", [0, 3, 8, 11])
def test_imix_and_equal_lengths(index: int, size: int, islands: Islands) -> None:
    transform = TRANSFORMS[index]
    rng = random.Random(size)
    keys = [Key(transform, rng) for _ in range(3)]
    CryptBatch(
        islands, make_packets(transform, [rng.choice([64] * 7 + [576] * 4 + [1424]) for _ in range(size)], keys, rng)
    ).round_trip()
    CryptBatch(islands, make_packets(transform, [rng.choice([64, 1408])] * size, keys[:1], rng)).round_trip()


@each_transform
@pytest.mark.parametrize("place", ["front", "back"])
def test_guard_pages_directly_before_and_behind(transform: ref.Transform, place: str, islands: Islands) -> None:
    rng = random.Random(2)
    block = ref.BLOCK[transform.cipher]
    keys = [Key(transform, rng) for _ in range(2)]
    lengths = [block * n for n in range(1, 36)] + [block * n for n in range(40, 600 // block, 3)] + [1408, 1424, 2048]
    batch = CryptBatch(islands, make_packets(transform, lengths, keys, rng, place))
    batch.round_trip()
    for one in batch.packets[::9]:
        CryptBatch(islands, [one]).round_trip()


def test_many_transforms_in_one_batch(islands: Islands) -> None:
    rng = random.Random(3)
    keys = [Key(t, rng) for t in TRANSFORMS for _ in range(2)]
    packets = []
    for i in range(300):
        key = rng.choice(keys)
        text = rng.randbytes(ref.BLOCK[key.transform.cipher] * rng.randrange(1, 40))
        packets.append(Packet(key, text, rng.getrandbits(36 if key.transform.esn else 32), place=i % 200))
    CryptBatch(islands, packets).round_trip()


def test_packets_of_64_kilobytes() -> None:
    rng = random.Random(4)
    islands = Islands(3, pages=17)
    for transform in TRANSFORMS[:12:3]:
        keys = [Key(transform, rng)]
        CryptBatch(islands, make_packets(transform, [65536, 16, 65472], keys, rng)).round_trip()


@each_transform
def test_forged_packets_stay_as_they_came_and_hurt_nobody(transform: ref.Transform, islands: Islands) -> None:
    rng = random.Random(5)
    block = ref.BLOCK[transform.cipher]
    keys = [Key(transform, rng) for _ in range(3)]
    packets = make_packets(transform, [block * rng.randrange(1, 60) for _ in range(60)], keys, rng)
    batch = CryptBatch(islands, packets)
    batch.plain()
    batch.seal()
    forged: dict[int, bytes] = {}
    for i in rng.sample(range(60), 25):
        bad = bytearray(packets[i].sealed)
        bad[rng.choice([rng.randrange(len(bad)), len(bad) - 1, 0, len(bad) - packets[i].icv_len])] ^= 1 << rng.randrange(8)
        forged[i] = bytes(bad)
        islands.view[packets[i].off : packets[i].off + len(bad)] = bytes(bad)
    statuses = batch.open()
    for i, p in enumerate(packets):
        now = bytes(islands.view[p.off : p.off + p.total])
        if i in forged:
            assert statuses[i] == lib.HR_DROP_ESP_AUTH
            assert now == forged[i]
            assert (batch.desc[i].len, batch.desc[i].room_tail) == (p.total, 0)
        else:
            assert statuses[i] == lib.HR_OK
            assert now[p.head : -p.icv_len] == p.text
    batch.check_surroundings()


def test_every_bit_of_the_icv_counts(islands: Islands) -> None:
    rng = random.Random(6)
    for transform in TRANSFORMS:
        packets = make_packets(transform, [48] * (8 * ref.icv_len(transform.auth)), [Key(transform, rng)], rng)
        batch = CryptBatch(islands, packets)
        batch.plain()
        batch.seal()
        for i, p in enumerate(packets):
            islands.view[p.off + p.total - 1 - i // 8] ^= 1 << (i % 8)
        assert set(batch.open()) == {lib.HR_DROP_ESP_AUTH}


@pytest.mark.parametrize("index", [1, 4, 9])
def test_the_upper_half_of_an_extended_sequence_number_is_authenticated(index: int, islands: Islands) -> None:
    rng = random.Random(7)
    packets = make_packets(TRANSFORMS[index], [64] * 20, [Key(TRANSFORMS[index], rng)], rng)
    batch = CryptBatch(islands, packets)
    batch.plain()
    batch.seal()
    for i in range(10):
        batch.desc[i].seq += 1 << 32
    assert batch.open() == [lib.HR_DROP_ESP_AUTH] * 10 + [lib.HR_OK] * 10


def test_ivs_differ_and_look_random(islands: Islands) -> None:
    rng = random.Random(8)
    for transform in (TRANSFORMS[0], TRANSFORMS[12]):
        keys = [Key(transform, rng)]
        packets = [Packet(keys[0], bytes(16), seq) for seq in range(1, 257)]
        batch = CryptBatch(islands, packets)
        batch.plain()
        batch.seal()
        ivs = {p.sealed[8 : p.head] for p in packets}
        assert len(ivs) == 256
        ones = sum(int.from_bytes(iv, "big").bit_count() for iv in ivs) / (256 * 8 * (transform.header - 8))
        assert 0.45 < ones < 0.55
        again = Key(transform, random.Random(8))  # same octets, other secret
        twin = CryptBatch(islands, [Packet(again, bytes(16), 1)])
        twin.plain()
        twin.seal()
        assert twin.packets[0].sealed[8 : transform.header] not in ivs


def test_gcm_iv_is_the_sequence_number(islands: Islands) -> None:
    key = Key(TRANSFORMS[9], random.Random(9))
    batch = CryptBatch(islands, [Packet(key, bytes(64), 0x0102030405060708)])
    batch.plain()
    batch.seal()
    assert batch.packets[0].sealed[8:16].hex() == "0102030405060708"


def test_refused_lengths_and_rooms_leave_the_packet_alone(islands: Islands) -> None:
    rng = random.Random(10)
    for transform in TRANSFORMS:
        key = Key(transform, rng)
        block = ref.BLOCK[transform.cipher]
        batch = CryptBatch(islands, [Packet(key, bytes(4 * block), i + 1) for i in range(6)])
        batch.plain()
        d = batch.desc
        d[1].len += 1
        d[2].len = transform.header
        d[3].room_tail = ref.icv_len(transform.auth) - 1
        d[4].len = 0
        before = [islands.island(i) for i in range(6)]
        assert lib.hr_crypt_seal(batch.key_array, 1, batch.batch) == 0
        length, room, good = lib.HR_DROP_ESP_LENGTH, lib.HR_DROP_ROOM, lib.HR_OK
        assert [d[i].status for i in range(6)] == [good, length, length, room, length, good]
        assert [islands.island(i) for i in range(1, 5)] == before[1:5]
        for i in range(1, 6):
            batch.put(i, bytes(islands.view[d[0].off : d[0].off + d[0].len]))
        d[1].len -= 1
        d[2].len = transform.header + ref.icv_len(transform.auth)
        d[3].len = ref.icv_len(transform.auth) - 1
        d[4].len = 0
        before = [islands.island(i) for i in range(6)]
        assert lib.hr_crypt_open(batch.key_array, 1, batch.batch) == 0
        short = lib.HR_DROP_ESP_SHORT
        # the sixth is the first one's packet: with ESN its sequence number is the wrong one, else the field is not read
        assert [d[i].status for i in range(5)] == [good, length, short, short, short]
        assert [islands.island(i) for i in range(1, 5)] == before[1:5]


def test_impossible_batches_are_refused_whole(islands: Islands) -> None:
    rng = random.Random(11)
    key, inbound = Key(TRANSFORMS[0], rng), Key(TRANSFORMS[0], rng, outbound=False)
    batch = CryptBatch(islands, [Packet(key, bytes(32), 1), Packet(key, bytes(32), 2)])
    batch.plain()
    before = islands.island(0) + islands.island(1)
    batch.desc[1].sa = 1
    assert lib.hr_crypt_seal(batch.key_array, 1, batch.batch) == lib.HR_E_ARGUMENT
    assert batch.batch.bad_index == 1
    batch.desc[1].sa = 0
    for off, length in ((islands.length - 10, 32), (0xFFFFFFFF, 64), (0, 0xFFFFFFFF)):
        batch.desc[1].off, batch.desc[1].len = off, length
        assert lib.hr_crypt_seal(batch.key_array, 1, batch.batch) == lib.HR_E_DESCRIPTOR
        assert lib.hr_crypt_open(batch.key_array, 1, batch.batch) == lib.HR_E_DESCRIPTOR
    batch.desc[1].off, batch.desc[1].len = batch.packets[1].off, 8 + 16 + 32
    assert lib.hr_crypt_seal(ffi.new("struct hr_crypt_key *[]", [inbound.handle]), 1, batch.batch) == lib.HR_E_ARGUMENT
    batch.batch.n = 513
    assert lib.hr_crypt_seal(batch.key_array, 1, batch.batch) == lib.HR_E_ARGUMENT
    assert lib.hr_crypt_seal(batch.key_array, 1, ffi.NULL) == lib.HR_E_ARGUMENT
    batch.batch.n = 0
    assert lib.hr_crypt_seal(batch.key_array, 1, batch.batch) == 0
    assert islands.island(0) + islands.island(1) == before
    assert before.count(CANARY) > 0


@pytest.mark.parametrize(
    ("cipher", "auth", "enc", "mac"),
    [
        (ref.AES_CBC, ref.SHA1_96, 15, 20),
        (ref.AES_CBC, ref.SHA1_96, 20, 20),
        (ref.AES_CBC, ref.SHA1_96, 0, 20),
        (ref.AES_CBC, ref.SHA1_96, 16, 16),
        (ref.AES_CBC, ref.NO_AUTH, 16, 0),
        (ref.AES_GCM, ref.SHA1_96, 20, 20),
        (ref.AES_GCM, ref.NO_AUTH, 16, 0),
        (ref.NULL, ref.NO_AUTH, 0, 0),
        (ref.NULL, ref.SHA1_96, 16, 20),
        (ref.DES_CBC, ref.SHA1_96, 24, 20),
        (ref.TRIPLE_DES_CBC, ref.SHA1_96, 8, 20),
        (5, ref.SHA1_96, 16, 20),
        (ref.AES_CBC, 7, 16, 20),
        (255, 255, 16, 20),
    ],
)
def test_impossible_keys_are_refused(cipher: int, auth: int, enc: int, mac: int) -> None:
    error = ffi.new("int *")
    assert lib.hr_crypt_key_new(cipher, auth, 0, bytes(enc), enc, bytes(mac), mac, 1, error) == ffi.NULL
    assert error[0] == lib.HR_E_ARGUMENT
    lib.hr_crypt_key_free(ffi.NULL)
