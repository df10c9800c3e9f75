"""Batches: one arena of octets and one array of descriptors, both NumPy, both read and written in place by the native library.

A *slot* is a stretch of the arena with room for one packet and for everything that may be put around it::

    | headroom: 128 | packet, at most `slot - 128 - 96` | tailroom: 96 |

The descriptor's layout comes from the library's own: nothing here repeats it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from headrace.dataplane.native import KIND, NONE, STATUS, ffi, lib
from headrace.errors import LocalError
from headrace.model import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADROOM: Final[int] = lib.HR_HEADROOM
TAILROOM: Final[int] = lib.HR_TAILROOM
BATCH_MAX: Final[int] = lib.HR_BATCH_MAX
_LINE: Final = 64


def _dtype_of(ctype: Any) -> np.dtype[Any]:
    """Derive the NumPy type of a C type: integers, arrays of them, structs; overlapping fields stay overlapping."""
    if ctype.kind == "struct":
        fields = ctype.fields
        return np.dtype(
            {
                "names": [name for name, _ in fields],
                "formats": [_dtype_of(field.type) for _, field in fields],
                "offsets": [field.offset for _, field in fields],
                "itemsize": ffi.sizeof(ctype),
            }
        )
    if ctype.kind == "array":
        return np.dtype((_dtype_of(ctype.item), (ctype.length,)))
    return np.dtype(f"u{ffi.sizeof(ctype)}")


DESC: Final = _dtype_of(ffi.typeof("struct hr_desc"))
"""``struct hr_desc`` as a NumPy type."""


def _aligned(count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return zeroed items that begin a cache line."""
    size = count * dtype.itemsize
    raw = np.zeros(size + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + size].view(dtype)


class Batch:
    """Up to 512 packets. The arrays may be filled by hand; ``load`` and ``packets`` are for those who have ``bytes``."""

    def __init__(self, capacity: int = BATCH_MAX, slot: int = 2048) -> None:
        """Make an arena of ``capacity`` slots of ``slot`` octets each.

        Raises ``LocalError`` for a capacity outside of 1 to 512 or a slot that has no room for a packet.
        """
        if not 1 <= capacity <= BATCH_MAX:
            raise LocalError(f"a batch of {capacity} packets: 1 to {BATCH_MAX} are possible")
        if not HEADROOM + TAILROOM < slot <= 1 << 20:
            raise LocalError(f"slots of {slot} octets: more than {HEADROOM + TAILROOM} and at most {1 << 20} are possible")
        self.capacity = capacity
        self.slot = slot
        self.arena: npt.NDArray[np.uint8] = _aligned(capacity * slot, np.dtype(np.uint8))
        """All slots, one after the other."""
        self.desc: npt.NDArray[Any] = _aligned(capacity, DESC)
        """The descriptors: a structured array with the fields of ``struct hr_desc``."""
        # Taken once: two pointers a call would cost three times as much as the call.
        self._arena_pointer = ffi.from_buffer("uint8_t[]", self.arena, require_writable=True)
        self._desc_pointer = ffi.from_buffer("struct hr_desc[]", self.desc, require_writable=True)
        self.pointer: Any = ffi.new("struct hr_batch *")
        """``struct hr_batch *`` for calls of the library. Valid as long as this object lives."""
        self.pointer.arena = self._arena_pointer
        self.pointer.arena_len = self.arena.nbytes
        self.pointer.desc = self._desc_pointer

    def __len__(self) -> int:
        return int(self.pointer.n)

    def resize(self, n: int) -> None:
        """Say how many descriptors are in use. Raises ``LocalError`` for more than there are."""
        if not 0 <= n <= self.capacity:
            raise LocalError(f"{n} packets in a batch for {self.capacity}")
        self.pointer.n = n

    def load(
        self,
        packets: Sequence[bytes],
        kind: int,
        *,
        session: int = NONE,
        peer: int = NONE,
        remote: Endpoint | None = None,
        listener: int = 0,
        local_port: int = 0,
        remote_port: int = 0,
    ) -> None:
        """Copy packets into the slots and describe them all alike; what differs can be set in ``desc`` afterwards.

        ``kind`` is an ``enum hr_kind``, the ports are those of an L2TP control message that goes out. Raises ``LocalError`` for too
        many packets or one that is too long for a slot.
        """
        self.resize(len(packets))
        room = self.slot - HEADROOM - TAILROOM
        desc = self.desc[: len(packets)]
        desc[:] = np.zeros((), DESC)
        for index, packet in enumerate(packets):
            if len(packet) > room:
                raise LocalError(f"packet {index} has {len(packet)} octets, a slot has room for {room}")
            start = index * self.slot + HEADROOM
            self.arena[start : start + len(packet)] = np.frombuffer(packet, np.uint8)
            desc["off"][index] = start
            desc["len"][index] = len(packet)
            desc["room_tail"][index] = min(self.slot - HEADROOM - len(packet), 0xFFFF)
        desc["room_head"] = HEADROOM
        desc["kind"] = kind
        desc["session"] = session
        desc["peer"] = peer
        desc["sa"] = NONE
        desc["listener"] = listener
        if kind == lib.HR_KIND_L2TP:
            desc["l2tp_local_port"] = local_port
            desc["l2tp_remote_port"] = remote_port
        desc["cookie"] = np.arange(len(packets), dtype=np.uint32)
        if remote is not None:
            desc["remote"] = endpoint_record(remote)

    def packet(self, index: int) -> bytes:
        """Return the octets that a descriptor covers."""
        entry = self.desc[index]
        start = int(entry["off"])
        return self.arena[start : start + int(entry["len"])].tobytes()

    def packets(self) -> list[bytes]:
        """Return the octets of all descriptors in use."""
        return [self.packet(index) for index in range(len(self))]

    def statuses(self) -> list[str]:
        """Return the label of every packet's status."""
        return [STATUS[int(number)] for number in self.desc["status"][: len(self)]]

    def kinds(self) -> list[str]:
        """Return the label of every packet's kind."""
        return [KIND[int(number)] for number in self.desc["kind"][: len(self)]]

    def remote(self, index: int) -> Endpoint | None:
        """Return the outer endpoint of a descriptor."""
        entry = self.desc[index]["remote"]
        return endpoint_of(int(entry["family"]), entry["addr"].tobytes(), int(entry["port"]))


def endpoint_record(endpoint: Endpoint) -> npt.NDArray[Any]:
    """Return an endpoint as ``struct hr_endpoint``, for the ``remote`` field of descriptors."""
    record = np.zeros((), DESC["remote"])
    packed = endpoint.address.packed
    record["addr"][: len(packed)] = np.frombuffer(packed, np.uint8)
    record["family"] = endpoint.address.version
    record["port"] = endpoint.port
    return record


def endpoint_of(family: int, octets: bytes, port: int) -> Endpoint | None:
    """Return the endpoint that a ``struct hr_endpoint`` stands for, ``None`` if it has no family."""
    if family == 4:
        return Endpoint(IPv4Address(octets[:4]), port)
    return Endpoint(IPv6Address(octets[:16]), port) if family == 6 else None
