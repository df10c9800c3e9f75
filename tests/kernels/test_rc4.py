"""RC4 at every level: RFC 6229, OpenSSL, every length, batches of all sizes, streams that go on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernels.native import Islands
from tests.kernels.streams import Mppe, PlainBatch, first_key, rc4, rc4_slow

from headrace.dataplane._native import ffi, lib

pytestmark = pytest.mark.usefixtures("level")


def run(islands: Islands, keys: list[bytes], packets: list[bytes], *, back: bool = False) -> list[bytes]:
    batch = PlainBatch(islands, packets, back=back)
    assert lib.hr_crypt_rc4(b"".join(keys), len(keys[0]) if keys else 16, batch.batch) == 0
    batch.check_surroundings()
    assert all(batch.desc[i].status == lib.HR_OK for i in range(len(packets)))
    return [batch.octets(i) for i in range(len(packets))]


# RFC 6229 section 2: the first 32 octets of the stream, and those from 1520 and 4096 - 16 on.
RFC_6229 = {
    "0102030405": ("b2396305f03dc027ccc3524a0a1118a8 6982944f18fc82d589c403a47a0d0919", "cf8c6c22f1a9b5f2a0f7c8d5fcd0be8e"),
    "0102030405060708": ("97ab8a1bf0afb96132f2f67258da15a8 8263efdb45c4a18684ef87e6b19e5b09", None),
    "0102030405060708090a0b0c0d0e0f10": ("9ac7cc9a609d1ef7b2932899cde41b97 5248c4959014126a6e8a84f11d1a9e1c", None),
    "833222772a": ("80ad97bdc973df8a2e879e92a497efda 20f060c2f2e5126501d3d4fea10d5fc0", None),
    "c109163908ebe51debb46227c6cc8b37641910833222772a": (
        "54b64e6b5a20b5e2ec84593dc7989da7 c135eee237a85465ff97dc03924f45ce",
        None,
    ),
}


@pytest.mark.parametrize("key", RFC_6229)
def test_rfc_6229(key: str, islands: Islands) -> None:
    octets = bytes.fromhex(key)
    for count in (1, 5, 40):
        for got in run(islands, [octets] * count, [bytes(32)] * count):
            assert got == bytes.fromhex(RFC_6229[key][0])


def test_all_vectors_of_rfc_6229(islands: Islands) -> None:
    vectors = pytest.importorskip("cryptography_vectors")
    by_length: dict[int, list[tuple[bytes, int, bytes]]] = {}
    for file in (Path(vectors.__file__).parent / "ciphers" / "ARC4").glob("rfc-6229*.txt"):
        fields: dict[str, str] = {}
        for line in file.read_text("ascii").splitlines():
            left, equals, right = line.partition("=")
            if equals:
                fields[left.strip()] = right.strip()
            if left.strip() == "CIPHERTEXT":
                key = bytes.fromhex(fields["KEY"])
                vector = (key, int(fields["OFFSET"]), bytes.fromhex(fields["CIPHERTEXT"]))
                by_length.setdefault(len(key), []).append(vector)
    assert sorted(by_length) == [5, 7, 8, 10, 16, 24, 32]
    big = Islands(18, pages=2)
    for group in by_length.values():
        for at in range(0, len(group), 18):
            part = group[at : at + 18]
            streams = run(big, [key for key, _, _ in part], [bytes(4112)] * len(part))
            assert all(got[offset : offset + 16] == want for got, (_, offset, want) in zip(streams, part, strict=True))


@pytest.mark.parametrize("back", [False, True], ids=["front", "back"])
@pytest.mark.parametrize("key_len", [8, 16])
def test_every_length(key_len: int, back: bool, islands: Islands) -> None:
    rng = random.Random(key_len)
    lengths = list(range(2049))
    rng.shuffle(lengths)
    for at in range(0, len(lengths), 205):
        packets = [rng.randbytes(n) for n in lengths[at : at + 205]]
        keys = [rng.randbytes(key_len) for _ in packets]
        for got, key, packet in zip(run(islands, keys, packets, back=back), keys, packets, strict=True):
            assert got == rc4(key).update(packet)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 25, 31, 32, 33, 64, 100, 256, 512])
def test_every_batch_size(size: int, islands: Islands) -> None:
    rng = random.Random(size)
    for lengths in ([64] * 7 + [576] * 4 + [1424], [200], list(range(300))):
        packets = [rng.randbytes(rng.choice(lengths)) for _ in range(size)]
        keys = [rng.randbytes(16) for _ in packets]
        for got, key, packet in zip(run(islands, keys, packets), keys, packets, strict=True):
            assert got == rc4(key).update(packet)


def test_any_key_length(islands: Islands) -> None:
    rng = random.Random(1)
    for length in [*range(1, 41), 100, 255, 256]:
        keys, packets = [rng.randbytes(length) for _ in range(2)], [rng.randbytes(100) for _ in range(2)]
        assert run(islands, keys, packets) == [rc4_slow(k, p) for k, p in zip(keys, packets, strict=True)]


def test_arguments(islands: Islands) -> None:
    batch = PlainBatch(islands, [bytes(8)])
    assert lib.hr_crypt_rc4(bytes(300), 0, batch.batch) == lib.HR_E_ARGUMENT
    assert lib.hr_crypt_rc4(bytes(300), 257, batch.batch) == lib.HR_E_ARGUMENT
    assert lib.hr_crypt_rc4(ffi.NULL, 16, batch.batch) == lib.HR_E_ARGUMENT
    batch.desc[0].off = batch.batch.arena_len - 7
    assert lib.hr_crypt_rc4(bytes(16), 16, batch.batch) == lib.HR_E_DESCRIPTOR
    batch.batch.n = 513
    assert lib.hr_crypt_rc4(bytes(16), 16, batch.batch) == lib.HR_E_ARGUMENT


def stream(start: bytes, bits: int, *, stateless: bool, count: int = 0) -> Any:
    error = ffi.new("int *")
    values = {"bits": bits, "stateless": stateless, "start_key": start}
    if count:  # the first key at a later count: a session that is taken up again
        values |= {"resume": 1, "count": count, "key_count": count, "session_key": first_key(start, bits).ljust(16, b"\0")}
    config = ffi.new("struct hr_mppe_config *", values)
    handle = lib.hr_crypt_mppe_new(config, error)
    assert handle != ffi.NULL, error[0]
    return ffi.gc(handle, lib.hr_crypt_mppe_free)


class Sessions:
    """Native and reference streams side by side."""

    def __init__(self, islands: Islands, count: int, rng: random.Random, *, stateless: bool | None = None) -> None:
        self.islands, self.rng, self.native, self.reference = islands, rng, [], []
        for _ in range(count):
            start, bits = rng.randbytes(16), rng.choice([40, 56, 128])
            mode = rng.random() < 0.5 if stateless is None else stateless
            first = rng.choice([0, 250, 4090, rng.randrange(4096)])
            self.native.append(stream(start, bits, stateless=mode, count=first))
            self.reference.append(Mppe(start, bits, stateless=mode, count=first))
        self.array = ffi.new("struct hr_crypt_mppe *[]", self.native)

    def send(self, packets: list[tuple[int, bytes]], *, back: bool = False) -> None:
        batch = PlainBatch(self.islands, [octets for _, octets in packets], back=back)
        for i, (session, _) in enumerate(packets):
            batch.desc[i].session = session
        assert lib.hr_crypt_mppe(self.array, len(self.native), batch.batch) == 0
        batch.check_surroundings()
        for i, (session, octets) in enumerate(packets):
            assert (batch.desc[i].seq, batch.octets(i)) == self.reference[session].encrypt(octets), (i, session, len(octets))


@pytest.mark.parametrize("count", [1, 3, 4, 8, 9, 31, 33, 64, 256])
@pytest.mark.parametrize("stateless", [False, True], ids=["stateful", "stateless"])
def test_streams_that_go_on(count: int, stateless: bool, islands: Islands) -> None:
    rng = random.Random(count)
    sessions = Sessions(islands, count, rng, stateless=stateless)
    for lengths in ([40], [1400, 64, 300], list(range(130)), [64] * 7 + [576] * 4 + [1424]):
        for back in (False, True):
            sessions.send([(s, rng.randbytes(rng.choice(lengths))) for s in range(count)], back=back)


def test_many_packets_of_a_session_in_one_batch(islands: Islands) -> None:
    rng = random.Random(7)
    sessions = Sessions(islands, 12, rng)
    for _ in range(6):
        sessions.send([(min(rng.randrange(12), rng.randrange(12)), rng.randbytes(rng.randrange(400))) for _ in range(512)])
    one = Sessions(islands, 1, rng, stateless=True)
    one.send([(0, rng.randbytes(60))] * 512)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_batches(data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    sessions = Sessions(data_islands(), 6, rng)
    for _ in range(3):
        lengths = data.draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), max_size=60))
        sessions.send([(session, rng.randbytes(length)) for session, length in lengths])


_kept: list[Islands] = []


def data_islands() -> Islands:
    if not _kept:
        _kept.append(Islands(64))
    return _kept[0]
