"""DES-CBC and 3DES-CBC at every level: published vectors, numbers of lanes, mixed keys and lengths."""

from __future__ import annotations

import hashlib
import hmac
import random
from pathlib import Path

import pytest
from tests.kernels import esp_reference as ref
from tests.kernels.native import CryptBatch, Islands, Packet, key_of
from tests.kernels.test_esp_crypt import make_packets

from headrace.dataplane._native import lib

TRIPLE = ref.Transform(ref.TRIPLE_DES_CBC, 24, ref.SHA1_96)
SINGLE = ref.Transform(ref.DES_CBC, 8, ref.SHA1_96)
AUTH = bytes(range(20))
pytestmark = pytest.mark.usefixtures("level")


def decrypts(islands: Islands, vectors: list[tuple[bytes, bytes, bytes, bytes]]) -> None:
    """(key, IV, ciphertext, plaintext): all in one batch; packets are closed with the ICV that they would have."""
    packets, closed = [], []
    for i, (key, iv, cipher, plain) in enumerate(vectors):
        packet = Packet(key_of(SINGLE if len(key) == 8 else TRIPLE, key, AUTH), plain, seq=i)
        head = packet.spi.to_bytes(4, "big") + i.to_bytes(4, "big") + iv + cipher
        packets.append(packet)
        closed.append(head + hmac.new(AUTH, head, hashlib.sha1).digest()[:12])
    batch = CryptBatch(islands, packets)
    for i, octets in enumerate(closed):
        batch.put(i, octets)
    assert batch.open() == [lib.HR_OK] * len(packets)
    for i, p in enumerate(packets):
        assert bytes(islands.view[p.off + p.head : p.off + p.head + len(p.text)]) == p.text, vectors[i]


def test_published_examples(islands: Islands) -> None:
    """FIPS 81 table B-1 (first block, as CBC with an IV of zeros) and the example of SP 800-67 appendix B."""
    keys = bytes.fromhex("0123456789abcdef 23456789abcdef01 456789abcdef0123")
    blocks = ["a826fd8ce53b855f", "cce21c8112256fe6", "68d5c05dd9b6b900"]
    text = b"The qufck brown fox jump"
    zero = bytes(8)
    decrypts(
        islands,
        [(bytes.fromhex("0123456789abcdef"), zero, bytes.fromhex("3fa40e8a984d4815"), b"Now is t")]
        + [(keys, zero, bytes.fromhex(b), text[8 * i : 8 * i + 8]) for i, b in enumerate(blocks)],
    )


def read_vectors(name: str) -> list[tuple[bytes, bytes, bytes, bytes]]:
    """All of one response file of NIST's TDES suite, both directions."""
    folder = Path(pytest.importorskip("cryptography_vectors").__file__).parent
    found: list[tuple[bytes, bytes, bytes, bytes]] = []
    fields: dict[str, str] = {}
    for line in (folder / "ciphers" / "3DES" / "CBC" / name).read_text("ascii").splitlines():
        left, equals, right = line.partition("=")
        if not equals:
            continue
        fields[left.strip()] = right.strip()
        if {"PLAINTEXT", "CIPHERTEXT", "IV"} <= fields.keys():
            octets = {k: bytes.fromhex(v) for k, v in fields.items() if k != "COUNT"}
            key = octets["KEYs"] * 3 if "KEYs" in octets else octets["KEY1"] + octets["KEY2"] + octets["KEY3"]
            found.append((key, octets["IV"], octets["CIPHERTEXT"], octets["PLAINTEXT"]))
            fields = {}
    return found


@pytest.mark.parametrize(
    "name", ["MMT1", "MMT2", "MMT3", "invperm", "permop", "subtab", "varkey", "vartext"], ids=lambda n: n.lower()
)
def test_nist_vectors(name: str, islands: Islands) -> None:
    vectors = read_vectors(f"TCBC{name}.rsp")
    assert len(vectors) >= 20
    decrypts(islands, vectors[:512])
    single = [(key[:8], iv, cipher, plain) for key, iv, cipher, plain in vectors if key[:8] == key[8:16] == key[16:]]
    decrypts(islands, single[:512])


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 31, 32, 33, 40, 63, 64, 65, 96, 128, 129, 193, 256, 512])
@pytest.mark.parametrize("keys", ["one key", "many keys"])
def test_numbers_of_lanes(size: int, keys: str, islands: Islands) -> None:
    rng = random.Random(size)
    for transform in (TRIPLE, SINGLE):
        some = [key_of(transform, rng.randbytes(transform.key_len), AUTH) for _ in range(1 if keys == "one key" else 50)]
        for lengths in ([64], [8, 16, 200], [64] * 7 + [576] * 4 + [1424]):
            packets = make_packets(transform, [rng.choice(lengths) for _ in range(size)], some, rng)
            CryptBatch(islands, packets).round_trip()


@pytest.mark.parametrize("place", ["front", "back"])
@pytest.mark.parametrize("keys", [1, 3, 40])
def test_every_length_between_guard_pages(place: str, keys: int, islands: Islands) -> None:
    rng = random.Random(keys)
    some = [key_of(TRIPLE, rng.randbytes(24), AUTH) for _ in range(keys)]
    lengths = list(range(8, 2049, 8))
    CryptBatch(islands, make_packets(TRIPLE, lengths, some, rng, place)).round_trip()
    for length in (8, 64, 520, 2048):
        CryptBatch(islands, make_packets(TRIPLE, [length], some, rng, place)).round_trip()


def test_parity_bits_do_not_matter(islands: Islands) -> None:
    rng = random.Random(9)
    key = rng.randbytes(24)
    other = bytes(b ^ 1 for b in key)
    text, iv = rng.randbytes(72), rng.randbytes(8)
    sealed = ref.seal(TRIPLE, key, AUTH, 1, 2, iv, text)
    decrypts(islands, [(key, iv, sealed[16:-12], text), (other, iv, sealed[16:-12], text)])
