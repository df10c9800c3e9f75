"""One compiled harness for the room."""

from __future__ import annotations

import pytest

from headrace.bench.native import BenchError, Toolbox, compiler


@pytest.fixture(scope="session")
def toolbox() -> Toolbox:
    """The harness, and whichever peers are installed."""
    try:
        compiler()
    except BenchError as error:
        pytest.skip(str(error))
    return Toolbox()
