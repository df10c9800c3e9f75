"""Batches for hr_crypt_*: packets in islands between guard pages, so that one octet read or written too far is a crash."""

from __future__ import annotations

import ctypes
import mmap
import random
from dataclasses import dataclass, field
from typing import Any

from tests.kernels import esp_reference as ref

from headrace.dataplane._native import ffi, lib

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def levels() -> list[str]:
    """The instruction set levels of this machine, the best last."""
    return str(ffi.string(lib.hr_cpu_levels()).decode()).split()


class Islands:
    """An arena of `count` runs of `pages` accessible pages, each between two pages that fault."""

    def __init__(self, count: int, pages: int = 1) -> None:
        self.count = count
        self.size = pages * PAGE
        self.stride = self.size + PAGE
        self.length = count * self.stride + PAGE
        self._map = mmap.mmap(-1, self.length)
        self._anchor = (ctypes.c_char * self.length).from_buffer(self._map)
        self.address = ctypes.addressof(self._anchor)
        for i in range(count + 1):
            if _libc.mprotect(self.address + i * self.stride, PAGE, 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        self.view = memoryview(self._map)

    def start(self, i: int) -> int:
        """Offset of the first octet of island i."""
        return i * self.stride + PAGE

    def fill(self, i: int, octet: int) -> None:
        """Set a whole island, so that stray writes show."""
        self.view[self.start(i) : self.start(i) + self.size] = bytes([octet]) * self.size

    def island(self, i: int) -> bytes:
        """All octets of island i."""
        return bytes(self.view[self.start(i) : self.start(i) + self.size])


class Key:
    """One hr_crypt_key with the octets it was made of."""

    def __init__(self, transform: ref.Transform, rng: random.Random, *, outbound: bool = True) -> None:
        self.transform = transform
        self.enc = rng.randbytes(transform.key_len)
        self.auth = rng.randbytes(ref.auth_key_len(transform.auth))
        error = ffi.new("int *")
        key = lib.hr_crypt_key_new(
            transform.cipher, transform.auth, transform.esn, self.enc, len(self.enc), self.auth, len(self.auth), outbound, error
        )
        assert key != ffi.NULL, error[0]
        self.handle = ffi.gc(key, lib.hr_crypt_key_free)


def key_of(transform: ref.Transform, enc: bytes, auth: bytes) -> Key:
    """A key of given octets, as from a published vector."""
    key = Key.__new__(Key)
    key.transform, key.enc, key.auth = transform, enc, auth
    error = ffi.new("int *")
    handle = lib.hr_crypt_key_new(transform.cipher, transform.auth, transform.esn, enc, len(enc), auth, len(auth), 1, error)
    assert handle != ffi.NULL, error[0]
    key.handle = ffi.gc(handle, lib.hr_crypt_key_free)
    return key


@dataclass
class Packet:
    """What goes into a batch: `place` is "front" or "back" of the island, or an offset into it."""

    key: Key
    text: bytes
    seq: int
    spi: int = 0x01020304
    place: str | int = "front"
    off: int = field(default=0, init=False)
    sealed: bytes = field(default=b"", init=False)

    @property
    def head(self) -> int:
        """Octets in front of the text."""
        return self.key.transform.header

    @property
    def icv_len(self) -> int:
        """Octets behind the text."""
        return ref.icv_len(self.key.transform.auth)

    @property
    def total(self) -> int:
        """Octets of the sealed packet."""
        return self.head + len(self.text) + self.icv_len


CANARY = 0xA5


class CryptBatch:
    """Seal and open a list of packets on islands, and look at every octet around them."""

    def __init__(self, islands: Islands, packets: list[Packet]) -> None:
        self.islands = islands
        self.packets = packets
        self.keys: list[Any] = []
        index: dict[int, int] = {}
        self.desc = ffi.new("struct hr_desc[]", max(len(packets), 1))
        self.batch = ffi.new("struct hr_batch *")
        self.batch.arena = ffi.cast("uint8_t *", islands.address)
        self.batch.arena_len = islands.length
        self.batch.desc = self.desc
        self.batch.n = len(packets)
        for i, p in enumerate(packets):
            where = {"front": 0, "back": islands.size - p.total}.get(p.place, p.place) if isinstance(p.place, str) else p.place
            assert isinstance(where, int)
            assert 0 <= where <= islands.size - p.total
            p.off = islands.start(i) + where
            if id(p.key) not in index:
                index[id(p.key)] = len(self.keys)
                self.keys.append(p.key.handle)
            self.desc[i].sa = index[id(p.key)]
            self.desc[i].seq = p.seq
        self.key_array = ffi.new("struct hr_crypt_key *[]", self.keys)

    def plain(self) -> None:
        """Put SPI, sequence number and text in place, canaries around."""
        for i, p in enumerate(self.packets):
            self.islands.fill(i, CANARY)
            head = p.spi.to_bytes(4, "big") + (p.seq & 0xFFFFFFFF).to_bytes(4, "big")
            view = self.islands.view
            view[p.off : p.off + 8] = head
            view[p.off + p.head : p.off + p.head + len(p.text)] = p.text
            d = self.desc[i]
            d.off, d.len, d.room_head, d.room_tail, d.status = p.off, p.head + len(p.text), 0, p.icv_len, 255

    def put(self, i: int, octets: bytes) -> None:
        """Put a sealed packet in place."""
        p = self.packets[i]
        self.islands.fill(i, CANARY)
        self.islands.view[p.off : p.off + len(octets)] = octets
        d = self.desc[i]
        d.off, d.len, d.room_head, d.room_tail, d.status = p.off, len(octets), 0, 0, 255

    def seal(self) -> None:
        """hr_crypt_seal; reads back what it made."""
        assert lib.hr_crypt_seal(self.key_array, len(self.keys), self.batch) == 0
        for i, p in enumerate(self.packets):
            assert self.desc[i].status == lib.HR_OK
            assert (self.desc[i].off, self.desc[i].len, self.desc[i].room_tail) == (p.off, p.total, 0)
            p.sealed = bytes(self.islands.view[p.off : p.off + p.total])

    def open(self) -> list[int]:
        """hr_crypt_open; the status of each packet."""
        assert lib.hr_crypt_open(self.key_array, len(self.keys), self.batch) == 0
        return [self.desc[i].status for i in range(len(self.packets))]

    def check_surroundings(self) -> None:
        """Nothing outside the packets changed."""
        for i, p in enumerate(self.packets):
            island, at = self.islands.island(i), p.off - self.islands.start(i)
            outside = island[:at] + island[at + p.total :]
            assert outside.count(CANARY) == len(outside), f"packet {i}: octets outside were written"

    def check_sealed(self) -> None:
        """Every packet is what OpenSSL makes of it."""
        for i, p in enumerate(self.packets):
            iv = p.sealed[8 : p.head]
            expect = ref.seal(p.key.transform, p.key.enc, p.key.auth, p.spi, p.seq, iv, p.text)
            assert p.sealed == expect, f"packet {i} of {len(self.packets)}, text of {len(p.text)}: {p.key.transform}"

    def check_opened(self) -> None:
        """Every packet is its text again, IV and ICV as they were."""
        assert self.open() == [lib.HR_OK] * len(self.packets)
        for i, p in enumerate(self.packets):
            d = self.desc[i]
            assert (d.off, d.len, d.room_tail) == (p.off, p.total - p.icv_len, p.icv_len)
            now = bytes(self.islands.view[p.off : p.off + p.total])
            expect = p.sealed[: p.head] + p.text + p.sealed[p.total - p.icv_len :]
            assert now == expect, f"packet {i} of {len(self.packets)}, text of {len(p.text)}: {p.key.transform}"

    def round_trip(self) -> None:
        """Seal, compare with OpenSSL, open, compare with the text."""
        self.plain()
        self.seal()
        self.check_sealed()
        self.check_surroundings()
        self.check_opened()
        self.check_surroundings()
