"""Attributes by name, out of dictionary files in FreeRADIUS's format: what an operator writes into the configuration.

The gateway's own attributes need none; with dictionaries of the operator's, any attribute of any vendor can be sent with every request.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

from pyrad import dictionary as pyrad_dictionary
from pyrad import tools

from headrace.errors import ConfigError
from headrace.radius.packet import Attribute

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Dictionary:
    """What attributes are called. Raises ``ConfigError`` for a file that cannot be read."""

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        with as_file(files("headrace.radius").joinpath("dictionary.headrace")) as own:
            self._dictionary: Any = pyrad_dictionary.Dictionary(str(own))
        for path in paths:
            try:
                self._dictionary.ReadDictionary(str(path))
            except (OSError, UnicodeDecodeError, ValueError, KeyError, pyrad_dictionary.ParseError) as error:
                raise ConfigError(f"{path} is not a RADIUS dictionary: {error}") from None

    def attribute(self, name: str, value: str | int) -> Attribute:
        """One attribute out of its name and value. Raises ``ConfigError``."""
        if name not in self._dictionary:
            raise ConfigError(f"no RADIUS dictionary has the attribute {name!r}; name one that has in radius.dictionaries")
        entry = self._dictionary[name]
        if entry.is_sub_attribute or entry.type == "tlv" or entry.encrypt:
            raise ConfigError(f"{name} is of a kind that cannot be set here")
        try:
            named = entry.values.HasForward(value)
            encoded = entry.values.GetForward(value) if named else tools.EncodeAttr(entry.type, value)
            if entry.has_tag:
                encoded = b"\0" + (encoded[1:] if entry.type == "integer" else encoded)
            made = Attribute(entry.code, encoded, self._dictionary.vendors.GetForward(entry.vendor) if entry.vendor else 0)
            made.emit()
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{value!r} is not a value of {name} ({entry.type}): {error}") from None
        return made
