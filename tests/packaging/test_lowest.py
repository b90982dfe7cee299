"""The command that tests with the lowest versions leaves out what it says, and nothing by mistake."""

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


def test_suites_that_are_left_out_exist() -> None:
    """A suite that is renamed is not left out under its old name."""
    run = _run()
    assert [path for path in run.NOT_WITH_LOWEST if not (ROOT / path).exists()] == []
    (command,) = run.COMMANDS["lowest"]
    ignored = {each.removeprefix("--ignore=") for each in command if each.startswith("--ignore=")}
    assert ignored == run.NOT_WITH_LOWEST.keys()


def test_the_long_files_that_go_first_exist() -> None:
    """With several processes, a long one that is renamed would begin when the others are done."""
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(_module("tests/conftest.py").LONG_FILES) <= files


def test_every_dependency_has_a_lower_bound() -> None:
    """Or the lowest version would be the first that was ever published."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.partition("\ndependencies = [")[2].partition("\n]")[0]
    names = re.findall(r'^\s*"([^"]+)"', section, flags=re.MULTILINE)
    assert len(names) > 5
    assert [name for name in names if ">=" not in name] == []
