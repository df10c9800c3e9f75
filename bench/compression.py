"""How fast MPPC, Deflate and Van Jacobson's headers are, beside zlib level 1 on the same frames. Prints a table, or JSON.

    python bench/compression.py [--json] [--seconds 0.5]

One core, frames of 1,400 octets in batches of 64. The texts: this project's own C sources (``text``), a picture of zeros (``zeros``),
random octets (``noise``). Everything is checked before it is timed: what was compressed expands to what it was. zlib runs as PPP would run
it, one flush a frame; it is called from Python, which costs it about a microsecond a frame.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.dataplane.batch import Batch
from headrace.dataplane.native import cpu_level, ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable

FRAME: Final = 1400
BATCH: Final = 64


def texts() -> dict[str, list[bytes]]:
    """64 frames of each kind."""
    sources = b"".join(path.read_bytes() for path in sorted((Path(__file__).parents[1] / "csrc").glob("*.c")))
    chance = random.Random(1)
    cut = [sources[n * FRAME : (n + 1) * FRAME] for n in range(BATCH)]
    return {"text": cut, "zeros": [bytes(FRAME)] * BATCH, "noise": [chance.randbytes(FRAME) for _ in range(BATCH)]}


def timed(seconds: float, work: Callable[[], None], prepare: Callable[[], None]) -> float:
    """Seconds that one call of ``work`` takes, the best of many; ``prepare`` is not counted."""
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        prepare()
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best


class Loaded:
    """A batch that can be put back as it was."""

    def __init__(self, packets: list[bytes]) -> None:
        self.batch = Batch(BATCH)
        self.batch.load(packets, lib.HR_KIND_PPP, session=0)
        self._arena = self.batch.arena.copy()
        self._desc = self.batch.desc.copy()

    def restore(self) -> None:
        """As it was loaded."""
        self.batch.arena[:] = self._arena
        self.batch.desc[:] = self._desc

    def keep(self) -> None:
        """What it is now is what ``restore`` gives."""
        self._arena[:] = self.batch.arena
        self._desc[:] = self.batch.desc


def mppc(frames: list[bytes], seconds: float) -> tuple[float, float, float]:
    """Seconds to compress and to expand a batch, and the part that is left."""
    links = ffi.new("struct hr_mppc *[]", [lib.hr_mppc_new()])
    loaded = Loaded(frames)

    def compress() -> None:
        assert lib.hr_mppc_compress_batch(links, 1, loaded.batch.pointer) == 0

    def expand() -> None:
        assert lib.hr_mppc_expand_batch(links, 1, loaded.batch.pointer) == 0

    def afresh() -> None:
        loaded.restore()
        lib.hr_mppc_reset_sender(links[0])

    afresh()
    compress()
    left = sum(map(len, loaded.batch.packets())) / sum(map(len, frames))
    loaded.keep()
    expand()
    assert loaded.batch.packets() == frames
    out = timed(seconds, expand, loaded.restore)
    loaded = Loaded(frames)
    into = timed(seconds, compress, afresh)
    lib.hr_mppc_free(links[0])
    return into, out, left


def deflate(frames: list[bytes], seconds: float) -> tuple[float, float, float]:
    """The same for zlib, level 1."""
    made: list[bytes] = []

    def compress() -> None:
        stream = zlib.compressobj(1, zlib.DEFLATED, -15)
        made[:] = [stream.compress(frame) + stream.flush(zlib.Z_SYNC_FLUSH) for frame in frames]

    def expand() -> None:
        stream = zlib.decompressobj(-15)
        assert [stream.decompress(frame) for frame in made] == frames

    into = timed(seconds, compress, lambda: None)
    return into, timed(seconds, expand, lambda: None), sum(len(frame) - 4 for frame in made) / sum(map(len, frames))


def tcp(payload: bytes, number: int) -> bytes:
    """A segment of a bulk transfer, or an acknowledgement of one; with right checksums."""
    source, destination = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    segment = (
        struct.pack("!HHIIBBHHH", 4000, 80, number * len(payload), 1 if payload else 1000 * number, 0x50, 0x10, 8192, 0, 0)
        + payload
    )
    pseudo = source + destination + struct.pack("!HH", 6, len(segment))
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), number, 0x4000, 64, 6, 0, source, destination)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + segment


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def headers(size: int, seconds: float) -> tuple[float, float, float]:
    """The same for TCP/IP headers, with so much payload behind each. What is timed is one batch after another of one transfer."""
    packets = [tcp(bytes(size), number) for number in range(BATCH)]
    pair: Any = ffi.gc(lib.hr_vj_new(16, 0), lib.hr_vj_free)
    loaded = Loaded(packets)

    def compress() -> None:
        assert lib.hr_vj_compress_batch(pair, loaded.batch.pointer) == 0

    def expand() -> None:
        assert lib.hr_vj_expand_batch(pair, loaded.batch.pointer) == 0

    compress()
    left = sum(map(len, loaded.batch.packets())) / sum(map(len, packets))
    loaded.keep()
    expand()
    assert loaded.batch.packets() == packets
    out = timed(seconds, expand, loaded.restore)
    assert loaded.batch.packets() == packets
    loaded = Loaded(packets)
    return timed(seconds, compress, loaded.restore), out, left


def main() -> int:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each figure")
    arguments = parser.parse_args()
    rows = []
    for kind, frames in texts().items():
        for name, measure in (("mppc", mppc), ("zlib-1", deflate)):
            into, out, left = measure(frames, arguments.seconds)
            rows.append((name, kind, FRAME, into, out, left))
    for size in (0, 512, 1360):
        into, out, left = headers(size, arguments.seconds)
        rows.append(("vj", "bulk", size + 40, into, out, left))
    table = [
        {
            "method": name,
            "content": kind,
            "octets": size,
            "compress_MB_s": round(size * BATCH / into / 1e6, 1),
            "expand_MB_s": round(size * BATCH / out / 1e6, 1),
            "compress_ns": round(into / BATCH * 1e9),
            "expand_ns": round(out / BATCH * 1e9),
            "left": round(left, 3),
        }
        for name, kind, size, into, out, left in rows
    ]
    if arguments.json:
        json.dump({"level": cpu_level(), "batch": BATCH, "rows": table}, sys.stdout, indent=2)
        print()
        return 0
    print(f"level {cpu_level()}, one core, batches of {BATCH}")
    print(f"{'method':8} {'content':8} {'octets':>6} {'compress':>12} {'expand':>12} {'ns':>7} {'ns':>7} {'left':>6}")
    for row in table:
        print(
            f"{row['method']:8} {row['content']:8} {row['octets']:6} {row['compress_MB_s']:7.1f} MB/s {row['expand_MB_s']:7.1f} MB/s "
            f"{row['compress_ns']:7} {row['expand_ns']:7} {row['left']:6.1%}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
