"""The command that tests with the lowest versions tests each dependency."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def _run() -> ModuleType:
    return _module("run.py")


def _module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dependency_is_tested_with_its_lowest_version() -> None:
    """Those that an installation has without asking, those of encryption to a public key, and those of S3."""
    run = _run()
    assert [path for path in run.WITH_LOWEST if not (ROOT / path.partition("::")[0]).exists()] == []
    tested = {name for names in run.WITH_LOWEST.values() for name in names}
    assert tested == {*_names(_dependencies()), "pyrage", "s3fs"} - {"tzdata"}  # which only Windows needs


def test_the_long_files_that_go_first_exist() -> None:
    """With several processes, a long one that is renamed would begin when the others are done."""
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(_module("tests/conftest.py").LONG_FILES) <= files


def test_every_dependency_has_a_lower_bound() -> None:
    """Or the lowest version would be the first that was ever published."""
    assert len(_dependencies()) > 5
    assert [each for each in _dependencies() if ">=" not in each] == []


def _dependencies() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.partition("\ndependencies = [")[2].partition("\n]")[0]
    return re.findall(r'^\s*"([^"]+)"', section, flags=re.MULTILINE)


def _names(dependencies: list[str]) -> list[str]:
    return [re.split(r"[<>=;\[]", each)[0].strip() for each in dependencies]
