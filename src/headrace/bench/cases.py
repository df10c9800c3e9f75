"""What is measured: transforms, sizes, and the sets of packets that every implementation gets alike."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from headrace.dataplane.native import lib

Size = int | Literal["imix"]
"""Octets of payload inside ESP, or the usual mix of them."""

IMIX: Final = ((64, 7), (570, 4), (1418, 1))
"""Size and weight."""

SIZES: Final[tuple[Size, ...]] = (64, 256, 1400, "imix")
PACKETS: Final = 256
SAS: Final = 16
STREAMS: Final = 64
"""MPPE sessions where there are many."""
FIRST_SPI: Final = 4096
HEADROOM: Final[int] = lib.HR_HEADROOM
STRIDE: Final = 1728
"""Of the slots: the data plane's own for an MTU of 1500, an odd number of cache lines."""

ENCRYPT: Final = "encrypt"
DECRYPT: Final = "decrypt"


@dataclass(frozen=True, slots=True)
class Mppe:
    """A way of using MPPE-128."""

    stateless: bool
    streams: int


MPPE: Final = {
    "mppe128-stateless": Mppe(True, STREAMS),
    "mppe128-stateless-one-session": Mppe(True, 1),
    "mppe128-stateful": Mppe(False, STREAMS),
}
ESP: Final = ("aes128-sha1", "aes256-sha256", "aes128gcm16", "aes256gcm16", "3des-sha1")
"""What the bars are about."""
MORE_ESP: Final = ("aes256-sha1", "aes128-sha256", "aes256-sha384", "aes256-sha512", "aes128-md5", "des-sha1")


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table, for each implementation."""

    transform: str
    direction: str
    size: Size
    batch: int = PACKETS

    @property
    def mppe(self) -> Mppe | None:
        """How MPPE is used, ``None`` for ESP."""
        return MPPE.get(self.transform)

    @property
    def label(self) -> str:
        """For a person."""
        size = "IMIX" if self.size == "imix" else f"{self.size} B"
        return f"{self.transform} {self.direction}, {size}, batch {self.batch}"


def directions(transform: str) -> tuple[str, ...]:
    """RC4 is its own inverse: MPPE is measured once."""
    return (ENCRYPT,) if transform in MPPE else (ENCRYPT, DECRYPT)


def lengths(size: Size, count: int, rng: random.Random) -> list[int]:
    """Payload lengths of so many packets."""
    if size != "imix":
        return [size] * count
    row = [octets for octets, weight in IMIX for _ in range(weight)]
    found = [row[n % len(row)] for n in range(count)]
    rng.shuffle(found)
    return found


def aligned(octets: int) -> npt.NDArray[np.uint8]:
    """Zeroed octets that begin a cache line."""
    raw = np.zeros(octets + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + octets]
