"""CCP's Deflate option (RFC 1979 section 3.1).

On the wire::

    +---------------+---------------+-------+-------+-----------+---+
    |   Type = 26   |   Length = 4  |Window | Method|    MBZ    |Chk|
    +---------------+---------------+-------+-------+-----------+---+

Window is the power of two of its size, less 8; the method is 8, the check 0.
"""

from __future__ import annotations

from typing import Final

from headrace.ppp.option import Ccp as Opt
from headrace.ppp.option import Option
from headrace.wire import Writer

_METHOD: Final = 8
_SEQUENCE: Final = 0
"""The one way to notice a missing frame: its sequence number."""

DEFLATE_SIZES: Final = range(9, 16)
"""Powers of two of the history. RFC 1979 knows 8 as well, zlib does not."""


def deflate_option(window: int) -> Option:
    """Option 26 for a history of 2 to the power of ``window`` octets."""
    return Option(Opt.DEFLATE, Writer().u8((window - 8) << 4 | _METHOD).u8(_SEQUENCE).bytes())


def deflate_window(option: Option) -> int:
    """The power of two that an option of 2 octets asks for: 8 to 23."""
    return (option.data[0] >> 4) + 8
