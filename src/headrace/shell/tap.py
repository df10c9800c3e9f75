"""TAP devices: Ethernet for the bridge and for IPX, one frame a read. The system sees an interface, which may stand in a bridge of its own."""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from headrace.shell.netlink import with_netlink
from headrace.shell.tun import open_device, refusal

if TYPE_CHECKING:
    from types import TracebackType

_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFF_TUN_EXCL: Final = 0x8000
_FRAME_MAX: Final = 2048
IPX_MTU: Final = 1380
"""Octets; what is larger does not fit a session. Old machines send 576 unless told otherwise."""
BRIDGE_MTU: Final = 1376
"""Octets behind an Ethernet header that fit an MRU of 1400 with MPPE, BCP's two octets and a VLAN tag."""
_READS: Final = 64
"""Frames taken before the loop looks at others."""


class Tap:
    """One TAP device. A context manager; closing it takes the device away."""

    def __init__(self, name: str, *, mtu: int, mac: bytes = b"") -> None:
        """Make the device and bring it up. ``mac`` is its own address; empty leaves it to the kernel. Raises ``TunError``."""
        self.fd = open_device()
        try:
            made = fcntl.ioctl(
                self.fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_TUN_EXCL)
            )
        except OSError as error:
            os.close(self.fd)
            raise refusal(error, name) from error
        self.name = bytes(made[:16]).rstrip(b"\0").decode()

        def set_up(ip: Any) -> None:
            index = ip.link_lookup(ifname=self.name)[0]
            if mac:
                ip.link("set", index=index, address=mac.hex(":"))
            ip.link("set", index=index, mtu=mtu, state="up")

        try:
            # It is a port for others: what the system says of its own accord would be carried to every client.
            with suppress(OSError):
                Path(f"/proc/sys/net/ipv6/conf/{self.name}/addr_gen_mode").write_text("1", "ascii")
            with_netlink(set_up)
        except BaseException:
            self.close()
            raise

    def read(self) -> list[bytes]:
        """Frames that wait."""
        frames: list[bytes] = []
        with suppress(BlockingIOError, OSError):
            while len(frames) < _READS:
                frames.append(os.read(self.fd, _FRAME_MAX))
        return frames

    def write(self, frame: bytes) -> None:
        """Give the system a frame; lost where it takes none, like any."""
        with suppress(OSError):
            os.write(self.fd, frame)

    def close(self) -> None:
        """Take the device away. Harmless the second time."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
