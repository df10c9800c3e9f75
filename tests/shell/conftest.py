"""The site that the end-to-end tests of this folder share: its papers are made once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.shell.site import Site, prepare


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CA, certificates, accounts and secrets."""
    path = tmp_path_factory.mktemp("site")
    prepare(path)
    return path


@pytest.fixture
def site(papers: Path) -> Iterator[Site]:
    """A gateway's namespace; everything that a test starts in it ends with it."""
    with ExitStack() as stack:
        yield Site(papers, stack)
