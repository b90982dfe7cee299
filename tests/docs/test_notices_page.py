"""The page about notices: its code and YAML mean the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from dagster_beiwe import BeiweComponent

PAGE = (Path(__file__).parents[2] / "docs" / "notices.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


def test_yaml_and_python_mean_the_same() -> None:
    """Both can be pasted."""
    names: dict[str, Any] = {}
    exec(compile(block("python"), "docs/notices.md", "exec"), names)
    attributes = yaml.safe_load(block("yaml"))["attributes"]
    assert BeiweComponent.resolve_from_yaml(yaml.safe_dump(attributes)).notices == names["notices"]
