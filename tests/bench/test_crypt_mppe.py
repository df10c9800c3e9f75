"""hr_crypt_mppe(), the public face of MPPE's cryptography, beside the oracle."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.oracle import mppe as oracle

from headrace.dataplane.batch import Batch
from headrace.dataplane.native import ffi, lib, start

if TYPE_CHECKING:
    from collections.abc import Sequence


def stream(start_key: bytes, *, bits: int = 128, stateless: bool = True, count: int = 0) -> Any:
    start()
    config = ffi.new("struct hr_mppe_config *")
    config.bits, config.stateless, config.count, config.outbound = bits, stateless, count, 1
    ffi.memmove(config.start_key, start_key, len(start_key))
    error = ffi.new("int *")
    made = lib.hr_crypt_mppe_new(config, error)
    assert made != ffi.NULL, error[0]
    return ffi.gc(made, lib.hr_crypt_mppe_free)


class Reference:
    """One direction as RFC 3078 has it."""

    def __init__(self, start_key: bytes, bits: int, stateless: bool) -> None:
        self.key = oracle.Key(start_key, bits)
        self.stateless = stateless
        self.rc4 = oracle.rc4(self.key.current)
        self.count = 0

    def apply(self, text: bytes) -> tuple[int, bytes]:
        changes = self.stateless or self.count % 256 == 255
        if changes:
            self.rc4 = oracle.rc4(self.key.change())
        header = oracle.ENCRYPTED | (oracle.FLUSHED if changes else 0) | self.count
        self.count = (self.count + 1) % 4096
        return header, self.rc4.update(text)


def apply(streams: Sequence[Any], batch: Batch, owners: Sequence[int], texts: Sequence[bytes]) -> list[tuple[int, bytes]]:
    batch.load(texts, lib.HR_KIND_IP)
    batch.desc["session"][: len(texts)] = owners
    handles = ffi.new("struct hr_crypt_mppe *[]", list(streams))
    assert lib.hr_crypt_mppe(handles, len(streams), batch.pointer) == 0
    assert set(batch.statuses()) <= {"ok"}
    return [(int(batch.desc["seq"][n]), batch.packet(n)) for n in range(len(texts))]


@pytest.mark.parametrize("bits", [40, 56, 128])
@pytest.mark.parametrize("stateless", [False, True])
def test_streams_side_by_side(bits: int, stateless: bool) -> None:
    rng = random.Random(bits)
    keys = [rng.randbytes(16 if bits == 128 else 8) for _ in range(37)]
    streams = [stream(key, bits=bits, stateless=stateless) for key in keys]
    references = [Reference(key, bits, stateless) for key in keys]
    batch = Batch(512, 512)
    for size in (1, 7, 512, 300, 512):
        owners = [rng.choice((0, rng.randrange(len(keys)))) for _ in range(size)]
        texts = [rng.randbytes(rng.choice((0, 1, 40, 255))) for _ in range(size)]
        expected = [references[owner].apply(text) for owner, text in zip(owners, texts, strict=True)]
        assert apply(streams, batch, owners, texts) == expected


def test_the_count_goes_around() -> None:
    one, reference = stream(bytes(16), stateless=False), Reference(bytes(16), 128, stateless=False)
    batch = Batch(512, 256)
    for _ in range(9):
        texts = [b"x" * 11] * 512
        assert apply([one], batch, [0] * 512, texts) == [reference.apply(text) for text in texts]
    assert reference.count == 9 * 512 - 4096


def test_stateless_and_stateful_in_one_batch() -> None:
    keys = [bytes([n]) * 16 for n in range(4)]
    streams = [stream(key, stateless=n % 2 == 0) for n, key in enumerate(keys)]
    references = [Reference(key, 128, n % 2 == 0) for n, key in enumerate(keys)]
    owners = [n % 4 for n in range(64)]
    texts = [bytes([n]) * n for n in range(64)]
    expected = [references[owner].apply(text) for owner, text in zip(owners, texts, strict=True)]
    assert apply(streams, Batch(64, 512), owners, texts) == expected


def test_what_cannot_be_is_refused() -> None:
    config = ffi.new("struct hr_mppe_config *")
    error = ffi.new("int *")
    for bits in (0, 64):
        config.bits = bits
        assert lib.hr_crypt_mppe_new(config, error) == ffi.NULL
        assert error[0] == lib.HR_E_ARGUMENT
    assert lib.hr_crypt_mppe_new(ffi.NULL, ffi.NULL) == ffi.NULL
    lib.hr_crypt_mppe_free(ffi.NULL)
    one = stream(bytes(16))
    handles = ffi.new("struct hr_crypt_mppe *[]", [one])
    batch = Batch(2, 512)
    batch.load([b"abc", b"def"], lib.HR_KIND_IP)
    batch.desc["session"][1] = 1
    assert lib.hr_crypt_mppe(handles, 1, batch.pointer) == lib.HR_E_ARGUMENT
    batch.desc["session"][:] = 0
    batch.desc["off"][1] = batch.arena.nbytes - 2
    assert lib.hr_crypt_mppe(handles, 1, batch.pointer) == lib.HR_E_DESCRIPTOR
    assert batch.pointer.bad_index == 1
    assert batch.packet(0) == b"abc"
    batch.resize(0)
    assert lib.hr_crypt_mppe(handles, 1, batch.pointer) == 0
    batch.load([b"abc"], lib.HR_KIND_IP)
    batch.desc["session"][0] = 0
    assert lib.hr_crypt_mppe(handles, 1, batch.pointer) == 0
    assert batch.desc["seq"][0] == 0x9000
