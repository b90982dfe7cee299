"""The document about faults is the table that the tests are made from."""

from __future__ import annotations

import re

import pytest
from fault_report import DOCUMENT, LOSSES, filled
from measured import rows

from dagster_beiwe import errors


def test_the_document_is_current() -> None:
    """What docs/reliability.md promises is what is tested."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert filled(text) == text, "run: python tests/faults/fault_report.py --write"


def test_losses_are_those_that_are_counted() -> None:
    """The figures are those of the day that stands beside them; the rows are the report's."""
    assert rows("losses") == list(LOSSES)


def test_a_promise_without_a_test_is_noticed() -> None:
    """A row that somebody edits by hand, or a table that was removed, fails."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert filled(text.replace("| no registry |", "| no registry at all |")) == text
    with pytest.raises(LookupError):
        filled(text.replace("<!-- end of server -->", ""))


def test_errors_that_are_promised_exist() -> None:
    """Every class that the document names is there to be caught."""
    names = set(re.findall(r"`([A-Z]\w+Error)`", DOCUMENT.read_text(encoding="utf-8")))
    assert names
    assert [name for name in names if not hasattr(errors, name)] == []
