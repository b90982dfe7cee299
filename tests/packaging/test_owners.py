"""One owner for each thing: what several modules must agree on is spelled out in one of them."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

import dagster_beiwe
from dagster_beiwe.encryption import CIPHERS

PACKAGE = Path(dagster_beiwe.__file__).parent
APART = {"simulator"}
"""Rooms with a world of their own: whoever simulates a server must not share the client's mistakes."""


@cache
def sources() -> dict[str, ast.Module]:
    """Each module, taken apart."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in APART
    }


def literals(tree: ast.AST) -> set[str]:
    """The strings of a module that the program uses, with those inside f-strings; docstrings are none."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    }


@cache
def all_literals() -> dict[str, set[str]]:
    """The strings of each module."""
    return {name: literals(tree) for name, tree in sources().items()}


def modules_with(pattern: str) -> set[str]:
    """Modules with a string literal in which a pattern occurs."""
    return {name for name, texts in all_literals().items() if any(re.search(pattern, text) for text in texts)}


def modules_with_code(pattern: str) -> set[str]:
    """Modules in whose code, without strings and comments, a pattern occurs in a name or a number."""
    found = set()
    for name in sources():
        text = (PACKAGE / name).read_text(encoding="utf-8")
        if re.search(pattern, text):  # else it need not be taken apart
            tokens = tokenize.generate_tokens(io.StringIO(text).readline)
            words = (token.string for token in tokens if token.type in (tokenize.NAME, tokenize.NUMBER))
            found |= {name} if any(re.fullmatch(pattern, word) for word in words) else set()
    return found


_FOLDERS = "(log|checkpoints|packs|runs|staging|aside)"


@pytest.mark.parametrize(
    ("literal", "owner"),
    [
        (r"\.beiwe\b", "lake/layout.py"),
        (r"\.(tables|lake|plain)\b", "lake/layout.py"),
        (rf"(^|/){_FOLDERS}/|/{_FOLDERS}$", "lake/layout.py"),
        (r"token-|\.people\b", "lake/layout.py"),
        (r"\.(lock|parquet)\b", "lake/layout.py"),
        (r"\.zst\b", "member_names.py"),
        (r"\.part\b", "private_files.py"),
        (r"\bstrays\b", "streams.py"),
    ],
)
def test_names_in_the_lake_have_one_owner(literal: str, owner: str) -> None:
    """Folders and endings of files are spelled out once: those of the lake alone in its layout."""
    assert modules_with(literal) == {owner}


def test_partition_keys_are_taken_apart_in_one_module() -> None:
    """Everybody else asks it for participant and window."""
    assert modules_with(r"^\|$") == {"cells.py"}


def test_environment_variables_are_named_in_one_module() -> None:
    """Whoever reads one, and every message about one, takes its name from there."""
    assert modules_with(r"(?<![A-Z_])(BEIWE_[A-Z]|NRG_KEYRING_PASS|DAGSTER_HOME)") == {"environment.py"}


def test_each_cipher_is_named_in_its_own_module() -> None:
    """Everybody else finds it in the registry, where a new one is listed."""
    for kind in CIPHERS.values():
        owner = kind.__module__.replace(".", "/").removeprefix("dagster_beiwe/") + ".py"
        assert modules_with(f"^{kind.name}$") == {owner}


def test_file_permissions_have_one_owner() -> None:
    """Whatever creates a private file or folder goes through one module."""
    assert modules_with_code(r"0o[0-7]+|umask|[fl]?chmod|S_I[RWX]\w+|makedirs|mkdir") == {"private_files.py"}


def test_a_literal_elsewhere_would_be_found() -> None:
    """The search sees strings and parts of f-strings, and leaves docstrings alone."""
    tree = ast.parse('"""About .beiwe."""\npath = f"{folder}/.beiwe"\nother = "a.lock"')
    assert {"/.beiwe", "a.lock"} == {text for text in literals(tree) if re.search(r"\.beiwe|\.lock", text)}


RETRIES = re.compile(r"attempts|(^|_)tries$|retries|retry_|backoff|wait_seconds|hopeless|patience", re.IGNORECASE)


def retry_numbers(tree: ast.AST) -> list[int | float]:
    """Numbers that a module gives to something with a name of retries; 0 and 1 mean none."""
    given: list[tuple[str, ast.AST | None]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            given += [(target.id, node.value) for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            given.append((node.target.id, node.value))
        elif isinstance(node, ast.keyword) and node.arg:
            given.append((node.arg, node.value))
    numbers = (node.value for name, node in given if RETRIES.search(name) and isinstance(node, ast.Constant))
    return [number for number in numbers if isinstance(number, (int, float)) and number not in (0, 1)]


def test_retry_numbers_have_one_owner() -> None:
    """How often something is tried again, and how long that waits, is decided in one module for every caller."""
    assert {name for name, tree in sources().items() if retry_numbers(tree)} == {"retries.py"}
    assert retry_numbers(ast.parse("_MAX_ATTEMPTS: int = 5\nget(max_retries=2, timeout=9)\nattempts = 1")) == [5, 2]
