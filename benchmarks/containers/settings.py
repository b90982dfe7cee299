"""``dagster.yaml`` and commands as docs/deploy.md has them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"```yaml\n# dagster\.yaml(?:: (\w+))?\n(.*?)```", re.DOTALL)


def documented_settings(*engines: str) -> str:
    """The settings of the page, with the parts for some engines."""
    blocks = dict(_BLOCK.findall(_page()))
    return "\n".join(blocks[title] for title in ("", *engines))


def documented_worker() -> list[str]:
    """The command that starts one of Celery's workers."""
    (command,) = re.findall(r"^celery .*$", _page(), flags=re.MULTILINE)
    return shlex.split(command)


def _page() -> str:
    return (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
