"""What the documentation takes from the code: the page of settings, and the site's API reference.

``python docs/site_parts.py`` writes the page of settings. ``conf.py`` adds the rest when the site is built.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import dagster_beiwe
from dagster_beiwe import Automation, BeiweComponent, Notices, StudyConfig, environment, errors
from dagster_beiwe.component import Deployment

HERE = Path(__file__).parent
PAGES = [HERE.parent / "README.md", *sorted(HERE.glob("*.md"))]
SETTINGS = HERE / "settings.md"

PARTS: dict[str, type[BaseModel]] = {
    "A study": StudyConfig,
    "A project": BeiweComponent,
    "A server": Deployment,
    "Automation": Automation,
    "Notices": Notices,
}
"""{heading on the page of settings: what its table is about}"""
READ_ON = {
    "encryption": "encryption.md",
    "recipients": "encryption.md",
    "streams": "server-versions.md#data-streams",
    "keep_superseded_days": "reading.md#past-states",
    "quality_streams": "quality.md",
    "tables": "reading.md#stream-tables",
    "forest": "forest.md",
    "silent_groups": "assets.md#coverage",
    "audit_days": "completeness.md",
    "witness_variable": "deploy.md#a-witness",
    "translation": "assets.md#change-keys-groups-owners-and-descriptions",
    "per_study": "assets.md#your-own-assets",
    "defs_state": "project.md#state",
    "strict": "project.md#check-it-in-ci",
}
"""{field: the page that explains it}"""

_IMPORTED = re.compile(r"^from (dagster_beiwe[\w.]*) import (?:\(\n([^)]*)\)|(.*))$", re.MULTILINE)


def settings_page() -> str:
    """The page with its tables made anew: every field and environment variable, with its description in the code."""
    page = SETTINGS.read_text(encoding="utf-8")
    for model in PARTS.values():
        rows = [f"`{name}` | {_default(field)} | {_meaning(name, field)}" for name, field in _fields(model)]
        page = _with_table(page, f"fields of {model.__name__}", "field | default | meaning", rows)
    rows = [f"`{name}` | {_markdown(text)}" for name, text in variables()]
    return _with_table(page, "variables", "variable | meaning", rows)


def _with_table(page: str, name: str, head: str, rows: list[str]) -> str:
    before, mark, rest = page.partition(f"<!-- {name} -->\n")
    assert mark, f"The page of settings lacks the table of {name}."
    lines = [head, "|".join(["---"] * len(head.split("|"))), *rows]
    table = "\n".join(f"| {line} |" if " " in line else f"|{line}|" for line in lines)
    return before + mark + table + "\n" + rest[re.match(r"(\|.*\n)*", rest).end() :]  # type: ignore[union-attr]


def variables() -> list[tuple[str, str]]:
    """The environment variables, each with the description that follows it in ``environment.py``."""
    source = inspect.getsource(environment)
    return re.findall(r'(?m)^([A-Z]+_[A-Z_]+): Final = .*\n(?:"""([^"]*)""")?', source)


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    return ((name, field) for name, field in model.model_fields.items() if not name.startswith("_"))


def _meaning(name: str, field: FieldInfo) -> str:
    more = f"[Read on]({READ_ON[name]})." if name in READ_ON else ""
    return " ".join(filter(None, (_markdown(field.description or ""), _values(field), more)))


def _markdown(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, (BaseModel, list, dict)) or value == ():
        return ""
    if isinstance(value, tuple):
        return ", ".join(f"`{each}`" for each in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _values(field: FieldInfo) -> str:
    """The choices or bounds of a field, or where its parts are listed; empty if it takes anything of its type."""
    parts = list(_leaves(field.annotation))
    choices = [f"`{choice}`" for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    if choices:
        return f"Choices: {', '.join(choices)}."
    titles = [
        title for title, model in PARTS.items() for part in parts if inspect.isclass(part) and issubclass(part, model)
    ]
    if titles:
        return f"See [{titles[0].lower()}](#{titles[0].lower().replace(' ', '-')})."
    least, most = (
        next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None) for name in ("ge", "le")
    )
    return "" if least is None else f"From {least} to {most}." if most is not None else f"At least {least}."


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    parts = [] if get_origin(annotation) is Literal else [each for each in get_args(annotation) if each is not ...]
    for part in parts:
        yield from _leaves(part)
    if not parts:
        yield annotation


def public_names() -> dict[str, list[str]]:
    """{module: names}: what the package exports at its top, and what the pages import from its modules."""
    found: dict[str, set[str]] = defaultdict(set)
    for page in PAGES:
        for module, lines, line in _IMPORTED.findall(page.read_text(encoding="utf-8")):
            found[module] |= set(re.findall(r"\w+", lines or line))
    top = set(dagster_beiwe.__all__)
    others = {module: sorted(names - top) for module, names in found.items()}
    return {"dagster_beiwe": sorted(top)} | {module: names for module, names in sorted(others.items()) if names}


def api_reference() -> str:
    """The directives by which Sphinx documents the public names, and all errors."""
    parts = [_section(module, names) for module, names in public_names().items()]
    own = [name for name, each in vars(errors).items() if inspect.isclass(each) and issubclass(each, errors.BeiweError)]
    return "\n".join([*parts, _section("dagster_beiwe.errors", own)])


def with_messages(page: str) -> str:
    """The page of troubleshooting with the messages of each error at the end of its entry."""
    return re.sub(r"(?ms)^### (\w+Error)\n.*?(?=^#|\Z)", lambda entry: entry[0] + _messages_of(entry[1]), page)


def _messages_of(error: str) -> str:
    texts = sorted({text for name, text in raised_messages() if name == error and re.search(r"\w", text)})
    items = "\n".join(f"- {text}" for text in texts)
    return f"<details>\n<summary>Messages</summary>\n\n{items}\n\n</details>\n\n" if items else ""


@cache
def raised_messages() -> list[tuple[str, str]]:
    """Each error that the package makes, with its message: the name of the class, and Markdown with … for values."""
    sources = sorted(Path(dagster_beiwe.__file__).parent.rglob("*.py"))
    nodes = (node for path in sources for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    calls = (
        (node, getattr(node.func, "id", getattr(node.func, "attr", ""))) for node in nodes if isinstance(node, ast.Call)
    )
    return [(name, _worded(call.args[0])) for call, name in calls if name.endswith("Error") and call.args]


def _worded(message: ast.expr) -> str:
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    text = "".join(str(each.value) if isinstance(each, ast.Constant) else "…" for each in parts)
    return re.sub(r"([\\*_<\[\]])", r"\\\1", " ".join(text.split()))


def _section(module: str, names: list[str]) -> str:
    lines = [f"\n## {module}\n", "```{eval-rst}", f".. currentmodule:: {module}"]
    for name in names:
        is_class = inspect.isclass(getattr(importlib.import_module(module), name))
        lines += ["", f".. auto{'class' if is_class else 'function'}:: {name}", *["   :members:"] * is_class]
    return "\n".join([*lines, "```\n"])


if __name__ == "__main__":
    SETTINGS.write_text(settings_page(), encoding="utf-8")
