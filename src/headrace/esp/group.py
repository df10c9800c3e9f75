"""Diffie-Hellman groups by number and name. Both phases name them (RFC 2409 class 4, RFC 2407 class 3); ``ike.groups`` computes with them."""

from __future__ import annotations

from enum import IntEnum


class Group(IntEnum):
    """The groups that this package can compute with; the numbers are those of the wire."""

    MODP1024 = 2
    MODP1536 = 5
    MODP2048 = 14
    MODP3072 = 15
    MODP4096 = 16
    ECP256 = 19
    ECP384 = 20
    ECP521 = 21

    @property
    def keyword(self) -> str:
        """The name in a proposal string, as swanctl spells it."""
        return self.name.lower()


GROUPS_BY_KEYWORD = {group.keyword: group for group in Group}
