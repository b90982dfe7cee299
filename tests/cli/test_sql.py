"""`dagster-beiwe sql`: a query over the tables of a study."""

from __future__ import annotations

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
