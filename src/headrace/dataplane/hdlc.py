"""PPP in HDLC-like framing (RFC 1662), as a serial line or a pty carries it: octets to frames and back, whole batches at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headrace.dataplane.batch import BATCH_MAX, HEADROOM, Batch
from headrace.dataplane.native import DataPlaneError, check, ffi, lib, start

if TYPE_CHECKING:
    from collections.abc import Sequence

ESCAPE_ALL: Final = 0xFFFFFFFF
"""Every control character is escaped: what a line begins with, and LCP always has."""

_SLOT: Final = 4096
_ROOM: Final = 2
"""A frame may become twice as long on the line."""


class HdlcLine:
    """One line, both directions. ``batch`` is refilled by every ``decode``, its frames ready for ``DataPlane.line_decap``."""

    def __init__(self, max_frame: int = 2048) -> None:
        """Take frames of up to ``max_frame`` octets without their check sequence. Raises ``DataPlaneError`` outside of 8 to 3800."""
        start()
        handle = lib.hr_hdlc_new(max_frame)
        if handle == ffi.NULL or max_frame > _SLOT - HEADROOM - 96:
            raise DataPlaneError(f"frames of {max_frame} octets on a line: 8 to {_SLOT - HEADROOM - 96} are possible")
        self._line: Any = ffi.gc(handle, lib.hr_hdlc_free)
        self._max_frame = max_frame
        self._send = self._receive = ESCAPE_ALL
        self._idle = True
        self._out = Batch(BATCH_MAX, slot=_SLOT)
        self.batch = Batch(64, slot=_SLOT)
        """The frames that came in last."""

    def maps(self, *, send: int = ESCAPE_ALL, receive: int = ESCAPE_ALL) -> None:
        """Name the control characters that the peer wants escaped, and those that only the line itself puts in. Bit n is octet n."""
        self._send, self._receive = send, receive
        lib.hr_hdlc_maps(self._line, send, receive)

    def encode(self, frames: Sequence[bytes], *, escape_all: bool = False) -> bytes:
        """What is to be sent for these frames (address, control, protocol, information). Raises ``LocalError`` for one that is too long."""
        octets = bytearray()
        lib.hr_hdlc_maps(self._line, ESCAPE_ALL if escape_all else self._send, self._receive)
        for at in range(0, len(frames), BATCH_MAX):
            self._out.load(frames[at : at + BATCH_MAX], lib.HR_KIND_PPP)
            room = sum(_ROOM * len(frame) + 86 for frame in frames[at : at + BATCH_MAX])
            out = ffi.new("uint8_t[]", room)
            made = lib.hr_hdlc_encode_batch(self._line, self._out.pointer, self._idle, out, room)
            check(made, "framing for a line")
            octets += ffi.buffer(out, made)
            self._idle = False
        return bytes(octets)

    def idle(self) -> None:
        """Say that nothing was sent for a while: the next frame begins with a flag of its own."""
        self._idle = True

    def decode(self, octets: bytes, session: int) -> int:
        """Take octets from the line, and fill ``batch`` with the good frames, for this session.

        Gives the number of octets that were taken; call again with the rest.
        """
        batch = self.batch
        desc = batch.desc
        batch.resize(batch.capacity)
        desc[:] = np.zeros((), desc.dtype)
        desc["off"] = np.arange(batch.capacity, dtype=np.uint32) * _SLOT + HEADROOM
        desc["len"] = self._max_frame
        lib.hr_hdlc_maps(self._line, self._send, self._receive)
        taken = int(lib.hr_hdlc_decode_batch(self._line, octets, len(octets), batch.pointer))
        check(taken, "reading frames off a line")
        used = desc[: len(batch)]
        used["session"] = session
        used["room_head"] = HEADROOM
        used["room_tail"] = _SLOT - HEADROOM - used["len"]
        return taken

    def stats(self) -> dict[str, int]:
        """Frames received: ``good``, ``bad_fcs``, ``runts``, ``aborts``, ``too_long``."""
        stats = ffi.new("struct hr_hdlc_stats *")
        lib.hr_hdlc_stats(self._line, stats)
        return {name: int(getattr(stats, name)) for name, _ in ffi.typeof("struct hr_hdlc_stats").fields}
