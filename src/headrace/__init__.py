"""headrace: a user-space L2TP/IPsec gateway and client with a native data plane."""

from __future__ import annotations

from headrace.version import __version__

__all__ = ["__version__"]
