"""The border to the native data plane: batches, tables, counters, workers."""

from __future__ import annotations

from headrace.dataplane.native import cpu_level, cpu_levels, kernels

__all__ = ["cpu_level", "cpu_levels", "kernels"]
