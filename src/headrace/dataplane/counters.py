"""What became of all packets since the start, by status."""

from __future__ import annotations

from typing import Any

from headrace.dataplane.native import STATUS, ffi, lib


def read_counters(handle: Any) -> dict[str, tuple[int, int]]:
    """Return packets and octets for the label of every status. ``handle`` is a ``struct hr_dp *``.

    Events (``exc_moved`` and so on) count as packets of no octets; ``hr_status_text`` explains each label.
    """
    packets = ffi.new("uint64_t[]", lib.HR_STATUS_COUNT)
    octets = ffi.new("uint64_t[]", lib.HR_STATUS_COUNT)
    lib.hr_counters(handle, packets, octets)
    return {label: (int(packets[number]), int(octets[number])) for number, label in STATUS.items()}


def lost(counters: dict[str, tuple[int, int]]) -> int:
    """Return how many packets were lost, whatever the reason."""
    return sum(packets for label, (packets, _) in counters.items() if label.startswith("drop_"))
