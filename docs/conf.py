"""The documentation site: ``python3 run.py docs`` builds it from these pages into ``build/docs``.

Sphinx, because it is the one well-kept generator that checks every link and anchor and documents the imported objects:
MkDocs has had no release since 2024, and what follows it has no plugins yet.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from site_parts import api_reference, with_messages  # noqa: E402 - Sphinx runs this file from anywhere

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "dagster-beiwe"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["**/__pycache__"]

html_theme = "furo"
html_title = project
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False

myst_heading_anchors = 4  # the anchors that GitHub gives
smartquotes = False  # messages are searched for as they are printed
default_role = "code"  # a single backtick in a docstring, as Markdown has it

autodoc_default_options = {"exclude-members": "model_config"}
autodoc_inherit_docstrings = False  # those of Dagster are not written for Sphinx
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88


def write_changelog(app: Sphinx) -> None:  # noqa: ARG001 - the signature of Sphinx
    """The changelog lies beside these pages, where Sphinx does not look."""
    text = (HERE.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    folder = HERE / "generated"
    folder.mkdir(exist_ok=True)
    (folder / "changelog.md").write_text(
        "---\norphan: true\n---\n" + text.replace("](docs/", "](../"), encoding="utf-8"
    )


def add_generated(app: Sphinx, page: str, source: list[str]) -> None:  # noqa: ARG001 - the signature of Sphinx
    """Append to a page what is not written by hand, and would not read well on GitHub."""
    source[0] = source[0].replace("](../CHANGELOG.md", "](generated/changelog.md")
    if page == "index":
        source[0] += navigation(source[0])
    elif page == "api":
        source[0] += api_reference()
    elif page == "troubleshooting":
        source[0] = with_messages(source[0])


def navigation(start_page: str) -> str:
    """The sidebar: the lists of the start page, under their headings."""
    trees = []
    for section in start_page.split("\n## ")[1:]:
        caption, _, text = section.partition("\n")
        pages = re.findall(r"\]\(([\w-]+)\.md\)", text)
        trees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", *pages, "```"]))
    return "\n" + "\n\n".join(trees) + "\n"


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_changelog)
    app.connect("source-read", add_generated)
