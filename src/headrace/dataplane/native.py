"""The native library: loaded, compared with this package's version, started, and its errors as exceptions.

Everything else in this room takes ``ffi`` and ``lib`` from here, so a stale or missing extension is told once, at import, in a sentence.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from headrace.errors import LocalError
from headrace.version import __version__

try:
    from headrace.dataplane._native import ffi, lib
except ImportError as error:  # pragma: no cover (a checkout without a build)
    raise ImportError(
        "headrace's native data plane is not built: run `python build.py` in the checkout, or install the wheel"
    ) from error

__all__ = [
    "KIND",
    "NONE",
    "STATUS",
    "STATUS_NUMBER",
    "BadDescriptor",
    "DataPlaneError",
    "InUse",
    "NoSuchRecord",
    "TableFull",
    "check",
    "cpu_level",
    "cpu_levels",
    "error_text",
    "fail",
    "ffi",
    "kernels",
    "lib",
    "start",
    "status_text",
    "wipe",
]

_built: Final = ffi.string(lib.hr_version()).decode()
if _built != __version__:
    raise ImportError(f"headrace {__version__} found a native data plane of version {_built}: run `python build.py` again")

NONE: Final[int] = lib.HR_NONE
"""``HR_NONE``: no such record."""

STATUS: Final[dict[int, str]] = {
    number: name.removeprefix("HR_").lower()
    for number, name in ffi.typeof("enum hr_status").elements.items()
    if name != "HR_STATUS_COUNT"
}
"""Label of every ``enum hr_status``, as it stands in counters and metrics: ``ok``, ``exc_ike``, ``drop_esp_auth``."""

STATUS_NUMBER: Final[dict[str, int]] = {label: number for number, label in STATUS.items()}

KIND: Final[dict[int, str]] = {
    number: name.removeprefix("HR_KIND_").lower() for number, name in ffi.typeof("enum hr_kind").elements.items()
}
"""Label of every ``enum hr_kind``: ``ip``, ``udp4500``, ``send_raw``."""


class DataPlaneError(LocalError):
    """The data plane refused a call. The classes below say why, where a caller may want to know."""


class TableFull(DataPlaneError):
    """No free record (``HR_E_FULL``). Nothing was changed."""


class InUse(DataPlaneError):
    """SPI, session id, address or inner route belongs to another record (``HR_E_EXISTS``). Nothing was changed."""


class NoSuchRecord(DataPlaneError):
    """No record with that index (``HR_E_MISSING``)."""


class BadDescriptor(DataPlaneError):
    """A descriptor points outside the arena, overlaps another, or has a kind that does not belong there. No packet was touched."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.index = index
        """Which one, from 0."""


_CLASSES: Final[dict[int, type[DataPlaneError]]] = {
    lib.HR_E_FULL: TableFull,
    lib.HR_E_EXISTS: InUse,
    lib.HR_E_MISSING: NoSuchRecord,
}


def error_text(code: int) -> str:
    """Return the sentence for an ``enum hr_error``."""
    text = lib.hr_error_text(code)
    return f"error {code}" if text == ffi.NULL else str(ffi.string(text).decode())


def status_text(label: str) -> str:
    """Return the sentence for the label of a status. Raises ``KeyError`` for what is no label."""
    return str(ffi.string(lib.hr_status_text(STATUS_NUMBER[label])).decode())


def fail(code: int, doing: str) -> NoReturn:
    """Raise the exception for a negative ``enum hr_error``."""
    raise _CLASSES.get(code, DataPlaneError)(f"{doing}: {error_text(code)}")


def check(code: int, doing: str) -> None:
    """Raise if ``code`` is an error."""
    if code < 0:
        fail(code, doing)


def start() -> None:
    """Choose and test the kernels. Idempotent.

    Raises ``DataPlaneError``; if ``HEADRACE_CPU`` names a level that does not exist here, the message lists those that do.
    """
    code = lib.hr_init()
    if code == lib.HR_E_UNSUPPORTED:
        raise DataPlaneError(f"HEADRACE_CPU names no level of this processor, which has: {', '.join(cpu_levels())}")
    check(code, "starting the data plane")


def cpu_level() -> str:
    """Return the level of the kernels in use: ``portable``, ``aesni``, ``avx2`` or ``avx512``. Raises ``DataPlaneError`` like ``start``."""
    start()
    return str(ffi.string(lib.hr_cpu_level()).decode())


def cpu_levels() -> list[str]:
    """Return the levels that this processor has, best last."""
    return str(ffi.string(lib.hr_cpu_levels()).decode()).split()


def kernels() -> dict[str, str]:
    """Return the kernel in use for every algorithm: ``{"aes-cbc-encrypt": "vaes512", ...}``."""
    start()
    found: dict[str, str] = {}
    index = 0
    while (name := lib.hr_kernel_name(index)) != ffi.NULL:
        label, _, kernel = ffi.string(name).decode().partition(": ")
        found[label] = kernel
        index += 1
    return found


def deflate_available() -> bool:
    """Whether this machine has the zlib that Deflate needs."""
    return bool(lib.hr_deflate_available())


def wipe(struct: Any) -> None:
    """Erase a struct that held keys. ``struct`` is an owning cffi pointer."""
    lib.hr_wipe(struct, ffi.sizeof(struct[0]))
