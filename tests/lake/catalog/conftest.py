"""Fixtures: a log on a disk, and an object store."""

from __future__ import annotations

from pathlib import Path

import pytest
from catalog_lab import Lab
from s3_fixtures import s3, s3_server, url


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


__all__ = ["lab", "s3", "s3_server", "url"]
