"""``headrace bench``: measured throughput of kernels, pipeline and tunnel, beside the peers that are installed."""

from __future__ import annotations
