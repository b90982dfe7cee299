"""`dagster-beiwe sql`: a query over the tables of a study."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest

from dagster_beiwe.cli import main
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.tables.store import TableStore


def test_a_query_is_printed(lake: StudyLake, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON or CSV, or with tabs for another program; a mistake is a wrong call, and shows what is right."""
    pytest.importorskip("duckdb")
    TableStore.of_study(lake).write(
        ["lab", "steps"], pd.DataFrame({"who": ["a", "b"], "steps": [3, 4], "texts": [None, ["c, d", "e"]]})
    )
    asked = ["sql", "--study", "Sleep", "SELECT who, steps FROM steps WHERE steps > 3"]
    printed = {}
    for form in ("--json", "--csv"):
        assert main([*asked, form]) == 0
        printed[form] = capsys.readouterr().out
    assert json.loads(printed["--json"]) == {"who": "b", "steps": 4}
    assert printed["--csv"] == "who,steps\nb,4\n"
    assert main(asked) == 0
    assert capsys.readouterr().out == "who\tsteps\nb\t4\n"
    assert main(["sql", "--study", "Sleep", "SELECT texts FROM steps WHERE steps > 3", "--csv"]) == 0
    assert capsys.readouterr().out == 'texts\n"[""c, d"", ""e""]"\n'
    assert main(["sql", "--study", "Sleep", "SELECT '4b5c2d1e-0000-4000-8000-000000000000'::UUID AS id", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"id": "4b5c2d1e-0000-4000-8000-000000000000"}
    assert main(["sql", "--study", "Sleep", "SELECT 1 FROM stairs"]) == 2
    assert "Its tables are: lab/steps" in capsys.readouterr().err


TYPES = {
    "'101'::BIT": "101",
    "'\\xAA'::BLOB": "\\xAA",
    "TIME '01:02:03.000004'": "01:02:03.000004",
    "'01:02:03+02'::TIMETZ": "01:02:03+02",
    "INTERVAL '1 month 2 days'": "1 month 2 days",
    "(2::UHUGEINT)": 2.0,
    "2::DECIMAL(9, 1)": 2.0,
    "sum(2)": 2.0,
    "[[1, NULL], [2]]": [[1, None], [2]],
    "array_value('101'::BIT)": ["101"],
    "{'a': DATE '2024-01-02', 'b': [10000000000000000000]}": {"a": "2024-01-02", "b": [1e19]},
    "MAP {1: INTERVAL '1 day'}": {"1": "1 day"},
    "union_value(n := 1)": "1",
    "TIMESTAMPTZ '2024-01-02 03:04:05+00'": "2024-01-02T03:04:05.000Z",
    "NULL": None,
}
"""Expressions of DuckDB's types, and how JSON shows them."""


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_every_type_comes_out(lake: StudyLake, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """As a value, or as the text that DuckDB writes for it; also of columns with one name."""
    pytest.importorskip("duckdb")
    query = ", ".join(f'{expression} AS "the ""{number // 2}"""' for number, expression in enumerate(TYPES))
    assert main(["sql", "--study", "Sleep", f"SELECT {query}", form]) == 0
    said = capsys.readouterr().out
    if form == "--json":
        assert list(json.loads(said).values()) == list(TYPES.values())
    else:
        (row,) = pd.read_csv(io.StringIO(said), dtype=str, keep_default_na=False).to_numpy()
        lists = [json.dumps(value) for value in TYPES.values() if isinstance(value, (list, dict))]
        assert [text for text in row if text[:1] in ("[", "{")] == lists
        assert {"101", "01:02:03+02", "1 month 2 days"} <= {*row}
