"""Sets of packets that every implementation gets alike, and what they must become: an ``hb_set`` for the harness."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.bench.cases import ENCRYPT, FIRST_SPI, HEADROOM, PACKETS, SAS, STRIDE, Case, Mppe, aligned, lengths
from headrace.bench.native import ffi
from headrace.bench.reference import block_octets, icv_octets, iv_octets, seal
from headrace.esp.proposal import EspProposal

if TYPE_CHECKING:
    from collections.abc import Sequence


def _kind(name: str) -> int:
    return int(ffi().typeof("enum hb_job_kind").relements[name])


class PacketSet:
    """What ESP and MPPE have in common. Made by ``packet_set``."""

    head: int
    """Octets from a packet's start to its payload."""

    def __init__(self, case: Case, sizes: Sequence[int], sas: int, rng: random.Random) -> None:
        self.case = case
        self.lengths = sizes
        self.octets = sum(sizes)
        """Payload of one pass."""
        self.payloads = [rng.randbytes(length) for length in sizes]
        self.arena = aligned(PACKETS * STRIDE)
        self.pristine = aligned(PACKETS * STRIDE)
        self.packets: Any = ffi().new("struct hb_packet[]", PACKETS)
        self.sas_count = sas
        self.sas: Any = ffi().new("struct hb_sa[]", sas)
        self.set: Any = ffi().new("struct hb_set *")
        self._arena = ffi().from_buffer("uint8_t[]", self.arena, require_writable=True)
        self._pristine = ffi().from_buffer("uint8_t[]", self.pristine, require_writable=True)
        self.set.arena, self.set.pristine, self.set.arena_len = self._arena, self._pristine, self.arena.nbytes
        self.set.packet, self.set.sa = self.packets, self.sas
        self.set.n, self.set.n_sas, self.set.batch = PACKETS, sas, case.batch

    def _place(self, index: int, owner: int) -> Any:
        packet = self.packets[index]
        packet.off = index * STRIDE + HEADROOM - self.head
        packet.start = self._arena + packet.off
        packet.payload, packet.sa = self.lengths[index], owner
        return packet

    def _put(self, off: int, data: bytes) -> None:
        self.pristine[off : off + len(data)] = np.frombuffer(data, np.uint8)

    def packet(self, index: int, length: int) -> bytes:
        """Octets of a packet in the arena, from its start."""
        off = int(self.packets[index].off)
        return self.arena[off : off + length].tobytes()

    def pristine_packet(self, index: int) -> bytes:
        """A packet as it is before a pass."""
        entry = self.packets[index]
        return self.pristine[int(entry.off) : int(entry.off) + int(entry.len)].tobytes()


class MppeSet(PacketSet):
    """Streams of MPPE-128, the packets going to them in turn."""

    head = 0

    def __init__(self, case: Case, how: Mppe, *, seed: int = 1) -> None:
        rng = random.Random(seed)
        super().__init__(case, lengths(case.size, PACKETS, rng), how.streams, rng)
        self.how = how
        self.set.kind = _kind("HB_MPPE")
        for index in range(how.streams):
            config = self.sas[index].mppe
            config.outbound, config.bits, config.stateless = 1, 128, how.stateless
            config.start_key = list(rng.randbytes(16))
        for index, payload in enumerate(self.payloads):
            packet = self._place(index, self.owner(index))
            packet.len = len(payload)
            self._put(packet.off, payload)

    def owner(self, index: int) -> int:
        """The stream of a packet."""
        return index % self.how.streams

    def start_key(self, index: int) -> bytes:
        """Of a stream."""
        return bytes(self.sas[index].mppe.start_key)


class EspSet(PacketSet):
    """Packets of several SAs in no order. ``sizes`` and ``owners`` replace the case's size and chance."""

    def __init__(
        self, case: Case, sizes: Sequence[int] | None = None, owners: Sequence[int] | None = None, *, seed: int = 1
    ) -> None:
        rng = random.Random(seed)
        self.proposal = proposal = EspProposal.parse(case.transform)
        self.iv_len = iv_octets(proposal.cipher)
        self.icv_len = icv_octets(proposal.auth)
        self.head = 8 + self.iv_len
        count = max(owners) + 1 if owners is not None else SAS
        super().__init__(case, sizes if sizes is not None else lengths(case.size, PACKETS, rng), count, rng)
        self.set.kind = _kind("HB_SEAL" if case.direction == ENCRYPT else "HB_OPEN")
        for index in range(count):
            sa = self.sas[index]
            sa.cipher, sa.auth, sa.iv_len, sa.icv_len = proposal.cipher, proposal.auth, self.iv_len, self.icv_len
            sa.block = block_octets(proposal.cipher)
            sa.enc_len, sa.auth_len = proposal.enc_octets, proposal.auth_octets
            sa.enc_key = list(rng.randbytes(sa.enc_len)) + [0] * (40 - sa.enc_len)
            sa.auth_key = list(rng.randbytes(sa.auth_len)) + [0] * (64 - sa.auth_len)
        seq = [0] * count
        for index, payload in enumerate(self.payloads):
            owner = owners[index] if owners is not None else rng.randrange(SAS)
            packet = self._place(index, owner)
            if case.direction == ENCRYPT:
                self._put(packet.off + self.head, payload)
                continue
            seq[owner] += 1
            sealed = seal(proposal, *self.keys(owner), FIRST_SPI + owner, seq[owner], rng.randbytes(self.iv_len), payload)
            packet.len = len(sealed)
            self._put(packet.off, sealed)

    def keys(self, index: int) -> tuple[bytes, bytes]:
        """Encryption and authentication key of an SA."""
        sa = self.sas[index]
        return bytes(sa.enc_key)[: sa.enc_len], bytes(sa.auth_key)[: sa.auth_len]


def packet_set(case: Case) -> EspSet | MppeSet:
    """The packets of a case; the same ones every time."""
    return MppeSet(case, case.mppe) if case.mppe else EspSet(case)
