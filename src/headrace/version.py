"""The one place that names the version; compiled into the extension and compared at import."""

from __future__ import annotations

__version__ = "0.1.0"
