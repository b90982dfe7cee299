"""One lab for all tests of a module: it is what is killed that is new in each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stopping_lab import ROOT, HoldingServer, Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """With the settings that the project ships."""
    with HoldingServer() as server:
        lab = Lab(tmp_path_factory.mktemp("lab"), server, (ROOT / "dagster.yaml").read_text(encoding="utf-8"))
        yield lab
        lab.close()
