"""What PPP runs over outside of L2TP: a serial device, a pty, or the socket that an emulated serial port is (QEMU's).

Every line is one file descriptor of octets, not blocking, without any processing by the terminal layer.
"""

from __future__ import annotations

import errno
import os
import socket
import termios
import tty
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from types import TracebackType

_UNIX: Final = "unix:"
_PTY: Final = "pty"


class LineError(HeadraceError):
    """The line cannot be had; the message says what is missing."""


class Line:
    """An open line. A context manager. ``where`` names it for a person; for a pty it is what the other side opens."""

    def __init__(self, fd: int, where: str, *, keep: int = -1) -> None:
        self.fd = fd
        self.where = where
        self._keep = keep
        """A pty's other side: open, so that nobody having it yet is no error."""

    def read(self) -> bytes | None:
        """What has come, ``b""`` if nothing has; ``None``: the line has hung up."""
        try:
            return os.read(self.fd, 65536) or None
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno in {errno.EIO, errno.ECONNRESET, errno.ENXIO}:
                return None
            raise

    def write(self, octets: bytes) -> int:
        """How many of the octets went out: fewer than there are when the line is busy, or has hung up."""
        try:
            return os.write(self.fd, octets)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in {errno.EIO, errno.EPIPE, errno.ECONNRESET, errno.ENXIO}:
                return len(octets)  # reading tells
            raise

    def close(self) -> None:
        """Give the line back. Harmless the second time."""
        for fd in (self.fd, self._keep):
            if fd >= 0:
                with suppress(OSError):
                    os.close(fd)
        self.fd = self._keep = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_line(where: str, *, speed: int = 115200, flow_control: bool = False) -> Line:
    """Open ``/dev/...``, ``unix:PATH`` or ``pty``. ``speed`` is in bits a second, for devices. Raises ``LineError``."""
    try:
        if where == _PTY:
            return _open_pty()
        if where.startswith(_UNIX):
            return _open_socket(where.removeprefix(_UNIX))
        return _open_device(where, speed, flow_control=flow_control)
    except OSError as error:
        raise LineError(f"{where}: {error.strerror or error}") from error


def _open_pty() -> Line:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    return Line(ours, os.ttyname(theirs), keep=theirs)


def _open_socket(path: str) -> Line:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.connect(path)
        made.setblocking(False)
        return Line(made.detach(), path)


def _open_device(path: str, speed: int, *, flow_control: bool) -> Line:
    rate = getattr(termios, f"B{speed}", None)
    if rate is None:
        raise LineError(f"{path}: {speed} bits a second is no speed of a serial line; 115200 is usual")
    if not Path(path).is_char_device():
        raise LineError(f"{path} is no serial device; write a device, unix:PATH or pty")
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        tty.setraw(fd)
        mode = termios.tcgetattr(fd)
        mode[2] |= termios.CLOCAL | termios.CREAD
        mode[2] = mode[2] | termios.CRTSCTS if flow_control else mode[2] & ~termios.CRTSCTS
        mode[4] = mode[5] = rate
        termios.tcsetattr(fd, termios.TCSAFLUSH, mode)
    except (termios.error, OSError) as error:
        os.close(fd)
        raise LineError(f"{path} is no serial device: {error}") from error
    return Line(fd, path)
