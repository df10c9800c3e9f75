"""Every test of this room that takes `level` runs once at each instruction set level that the machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.kernels.native import Islands, levels

from headrace.dataplane._native import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Choose the kernels of one level; the environment's choice afterwards."""
    name = str(request.param)
    assert lib.hr_init_level(name.encode()) == 0
    yield name
    assert lib.hr_init_level(ffi.NULL) == 0


@pytest.fixture(scope="session")
def islands() -> Islands:
    """Room for the largest batch."""
    return Islands(512)
