"""Keys of a live session on their way over the control socket, to who watches it: as JSON there, as the reader of captures has them here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.dataplane.tables import MppeRecord
    from headrace.model import EspKeys


def sa_keys(keys: EspKeys) -> dict[str, Any]:
    """One direction of an SA; keys in hexadecimal."""
    return {
        "spi": keys.spi,
        "outbound": keys.outbound,
        "cipher": keys.cipher.name,
        "auth": keys.auth.name,
        "key": keys.enc_key.hex(),
        "auth_key": keys.auth_key.hex(),
    }


def mppe_keys(record: MppeRecord) -> dict[str, Any]:
    """One direction of MPPE and where its chain of keys stands."""
    return {
        "outbound": record.keys.outbound,
        "bits": record.keys.bits,
        "stateless": record.keys.stateless,
        "start_key": record.keys.start_key.hex(),
        "session_key": record.session_key.hex(),
        "count": record.key_count,
    }
