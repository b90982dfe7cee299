"""No block of the pages is left untested: code is run by the tests of its page, and commands are parsed here.

A new block fails a test here until it stands in ``RUN_BY`` with the test that runs it, or in ``SHOWN`` with the reason
why nothing can.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from dagster._cli import create_dagster_cli
from dagster_dg_cli.cli import create_dg_cli

from dagster_beiwe import BeiweComponent, environment
from dagster_beiwe.cli.commands import group
from dagster_beiwe.environment import with_prefix

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
SHELL = ("bash", "console", "sh", "shell")

RUN_BY = {
    ("README.md", "python", 1): "docs/test_readme.py",
    ("assets.md", "python", 3): "docs/test_readme.py",
    ("assets.md", "yaml", 2): "docs/test_completeness_docs.py",
    ("completeness.md", "text", 1): "docs/test_completeness_docs.py",
    ("credentials.md", "python", 2): "credentials/test_credentials_doc.py",
    ("deploy.md", "python", 1): "deploy/test_deploy_doc.py",
    ("deploy.md", "text", 1): "deploy/test_engines.py",
    ("deploy.md", "yaml", 5): "deploy/test_deploy_doc.py",
    ("encryption.md", "python", 3): "encryption/test_cryptease.py",
    ("forest.md", "python", 2): "forest/test_forest_assets.py",
    ("history.md", "python", 1): "docs/test_history_page.py",
    ("new-lab.md", "yaml", 1): "docs/test_new_lab_page.py",
    ("notebook.md", "python", 5): "docs/test_notebook_page.py",
    ("notices.md", "python", 1): "docs/test_notices_page.py",
    ("notices.md", "yaml", 1): "docs/test_notices_page.py",
    ("performance.md", "text", 1): "benchmarks/test_benchmarks.py",
    ("project.md", "python", 3): "docs/test_project_docs.py",
    ("project.md", "yaml", 4): "docs/test_project_docs.py",
    ("quality.md", "python", 2): "assets/test_quality.py",
    ("reading.md", "python", 9): "reading/test_reading_doc.py",
    ("scripts.md", "python", 3): "docs/test_project_docs.py",
    ("several-servers.md", "python", 1): "docs/test_several_servers.py",
    ("several-servers.md", "yaml", 1): "docs/test_several_servers.py",
    ("simulator.md", "python", 2): "simulator/test_simulator_alone.py",
    ("tutorial.md", "python", 1): "reading/test_reading_doc.py",
    ("who-stopped-sending.md", "text", 1): "cli/test_status_and_show.py",
    ("who-stopped-sending.md", "yaml", 1): "cli/test_status_and_show.py",
}
"""{(page, language, number of blocks): the test that runs them}"""

SHOWN = {
    ("credentials.md", "text", 1): "an excerpt of what check prints",
    ("credentials.md", "json", 1): "the form of a keyring, with dots for secrets",
    ("deploy.md", "", 1): "one variable",
    ("deploy.md", "json", 1): "a policy of Amazon's",
    ("design.md", "", 1): "paths, with what lies there",
    ("notices.md", "text", 1): "a message, as test_message.py words it",
    ("object-stores.md", "", 1): "values of one variable",
    ("object-stores.md", "json", 1): "a policy of Amazon's",
    ("reading.md", "", 1): "paths, with what lies there",
    ("troubleshooting.md", "text", 1): "the beginning of a message",
}
"""{(page, language, number of blocks): why they are only shown}"""

PROGRAMS = {
    "system": {
        ".",
        "apt-get",
        "cd",
        "cp",
        "curl",
        "eval",
        "find",
        "head",
        "read",
        "sha256sum",
        "sort",
        "source",
        "unset",
        "xargs",
    },
    "other packages": {
        "age-keygen",
        "crypt.py",
        "crypt/bin/crypt.py",
        "crypt/bin/pip",
        "jq",
        "kubectl",
        "twine",
        "uvx",
        "zstd",
    },
    "services": {"dagster-daemon", "dagster-webserver"},
}
"""Programs that the pages call, and whose options are not checked here."""

VARIABLES = {"ENCRYPT_PASS", "LC_ALL", "_DAGSTER_BEIWE_COMPLETE"}
"""Variables of other programs, beside those of ``environment.py``."""

KNOWN = {*VARIABLES, *vars(environment), *(with_prefix(name, "CLINIC_") for name in vars(environment))}


def blocks() -> Iterator[tuple[str, str, str]]:
    """Page, language and text of each block."""
    for page in PAGES:
        for indent, language, text in re.findall(r"(?ms)^( *)```(\w*)\n(.*?)^\1```", page.read_text(encoding="utf-8")):
            yield page.name, language, re.sub(rf"(?m)^{indent}", "", text)


BLOCKS = list(blocks())


def commands(page: str) -> Iterator[list[str]]:
    """The commands of a page's shell blocks as words, without what they print."""
    for name, language, text in BLOCKS:
        if name == page and language in SHELL:
            lines = text.replace("\\\n", " ").splitlines()
            typed = [line[2:] for line in lines if line.startswith("$ ")] or lines
            one_word = re.sub(r"\$\(.*\)", "...", re.sub(r"(?m)(^|\s)#.*", "", "\n".join(typed)))
            lexer = shlex.shlex(one_word, posix=True, punctuation_chars=";\n|&>")
            lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
            yield from _commands(list(lexer))


def _commands(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in [*words, "\n"]:
        if not set(word) <= set(";\n|&"):
            command.append(word)
        elif command:
            yield command[: command.index(">")] if ">" in command else command
            command = []


PAGES_WITH_COMMANDS = sorted({name for name, language, _ in BLOCKS if language in SHELL})


def test_each_block_is_run_or_only_shown_for_a_reason() -> None:
    """Those of the shell are parsed below."""
    there = Counter((name, language) for name, language, _ in BLOCKS if language not in SHELL)
    assert {(*block, number) for block, number in there.items()} == {*RUN_BY, *SHOWN}


@pytest.mark.parametrize(("page", "test"), sorted({(page, test) for (page, *_), test in RUN_BY.items()}))
def test_what_runs_a_block_reads_its_page(page: str, test: str) -> None:
    """The test is there, and names the page."""
    assert page in (ROOT / "tests" / test).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS)
def test_each_command_can_be_called_like_this(page: str) -> None:
    """Its options exist and take these values."""
    called = list(commands(page))
    assert called
    for words in called:
        check_command(words)


def check_command(words: list[str]) -> None:
    while words and (assigned := re.match(r"(\w+)=", words[0])):
        assert assigned[1] in KNOWN, words
        words = words[1:]
    if not words:
        return
    program, *rest = words
    if program == "export":
        assert {word.partition("=")[0] for word in rest} <= KNOWN, words
    elif Path(program).name == "dagster-beiwe":
        parse(group, rest)
    elif program == "dagster":
        parse(create_dagster_cli(), rest)
    elif program == "dg":
        parse(create_dg_cli(), rest)
    elif program == "pip":
        check_extras(rest)
    elif Path(program).name in ("python", "python3") or program in (".ci/run",):
        check_script(rest)
    else:
        assert program.removeprefix(".venv/bin/") in set().union(*PROGRAMS.values()), words


def parse(command: click.Command, words: list[str]) -> None:
    """As click does before it calls the command."""
    with command.make_context(command.name, list(words), ignore_unknown_options=False) as context:
        if isinstance(command, click.Group) and words:
            _, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert inner is not None
            parse(inner, rest)


def check_extras(words: list[str]) -> None:
    """``pip install`` names extras that there are."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.findall(r"[\w-]+", "".join(re.findall(r"dagster-beiwe\[(.*?)\]|^\.\[(.*?)\]", " ".join(words))[0])):
        assert f"\n{extra} = [" in project


def check_script(words: list[str]) -> None:
    """A script or module of the repository, or one of Python's own."""
    if words[:1] == ["-m"]:
        module = words[1].replace(".", "/")
        own = [path for path in (ROOT / f"{module}.py", ROOT / module) if path.exists()]
        assert own or words[1] in ("build", "keyring", "pytest", "venv", "twine")
    elif words and words[0] == "run.py":
        assert f'    "{words[1]}": [' in (ROOT / "run.py").read_text(encoding="utf-8")
    paths = [word for word in words if word.startswith(("tests/", "benchmarks/"))]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    "text",
    [
        text
        for _, language, text in BLOCKS
        if language == "yaml" and "BeiweComponent" in text and "per_study" not in text
    ],
)
def test_each_component_can_be_loaded(text: str) -> None:
    """Its fields exist and take these values."""
    assert BeiweComponent.resolve_from_yaml(yaml.safe_dump(yaml.safe_load(text)["attributes"]))


@pytest.mark.parametrize("text", [text for _, language, text in BLOCKS if language == "json"])
def test_each_json_is_one_object(text: str) -> None:
    """Which a bucket's settings or a keyring take."""
    assert isinstance(json.loads(text), dict)
