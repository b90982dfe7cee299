"""Results as text for a terminal, and as the documentation's page; both from the same JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import aims, lake_report, machine, real_costs, tried
from benchmarks.graph import memory_graph

Results = Mapping[str, Any]
_HEAD = (
    "client",
    "ratio",
    "seconds",
    "processor s",
    "MB/s",
    "files/s",
    "on the wire",
    "requests",
    "peak memory",
    "grown by",
)
_READING_HEAD = ("client", "ratio", "seconds", "processor s", "MB/s", "rows", "peak memory", "grown by")
_MEGA = 1_000_000


def as_text(results: Results) -> str:
    """Tables with aligned columns."""
    parts = [" · ".join(f"{name} {value}" for name, value in results["machine"].items())]
    parts.append(" · ".join(f"{name} {value}" for name, value in results["versions"].items()))
    for workload in results["workloads"].values():
        parts.append(f"\n{workload['title']}\n{_facts(workload)}")
        parts.append(_aligned(*_table(workload)))
    if "real costs" in results:
        parts += ["\nA server with real costs", _aligned(*real_costs.table(results["real costs"]))]
    if "memory" in results:
        parts += [f"\n{results['memory']['title']}", _aligned(*_memory_table(results["memory"]))]
    if "limits" in results:
        parts += ["\nLimits, one core", _aligned(*_limits_table(results["limits"]))]
    if "lake" in results:
        parts += ["\nThe lake's log", _aligned(*_lake_table(results["lake"]))]
        parts += ["", _aligned(*_wide_table(results["lake"]))]
        parts += ["", _aligned(*_log_table(results["lake"]["logs"]))]
    if "coverage" in results:
        parts += ["\nCoverage", _aligned(*_coverage_table(results["coverage"]))]
    if "columns" in results:
        parts += ["\nColumns", _aligned(*_columns_table(results["columns"]))]
    for title, _, table in lake_report.parts(results):
        parts += [f"\n{title}", _aligned(*table)]
    if results["scale"] == "full":
        parts += ["\nAims", _aligned(*_aims_table(results))]
    return "\n".join(parts)


def as_document(results: Results) -> str:
    """The page ``docs/performance.md``."""
    return "\n\n".join(_sections(results)) + "\n"


def _sections(results: Results) -> Iterator[str]:
    scale = "" if results["scale"] == "full" else f" at the scale `{results['scale']}`, which is too small to judge by"
    yield "# Performance"
    yield (
        "This page is the output of `python -m benchmarks --json benchmarks/results.json --doc "
        f"docs/performance.md`{scale}. `--quick` takes less than two minutes, and `--from benchmarks/results.json` "
        "only writes the page. Everything is measured next to mano 0.6.0 from PyPI, with the same simulated server "
        "and the same data, in alternating runs; the tables show medians. Each run is a separate process. The server "
        "is another one, and its time and memory are not counted. A ratio is mano's time (for reading, that of the "
        "fastest other reader) divided by the client's: higher is better. Processor seconds are the client's own; "
        "they do not depend on other programs that use the machine."
    )
    facts = "; ".join(f"{name}: {value}" for name, value in results["machine"].items())
    yield f"Measured {results['taken'][:10]}. {facts[0].upper()}{facts[1:]}."
    if machine.is_busy(float(results["machine"]["load before"])):
        yield (
            "**Other programs were running.** They take more from a client with several threads than from mano, which "
            "has one, so the ratios are lower than on an idle machine."
        )
    yield "Versions: " + ", ".join(f"{name} {value}" for name, value in results["versions"].items()) + "."
    yield "## Aims"
    yield _markdown(*_aims_table(results))
    yield from (f"**{aim.title}.** {aim.reason(results)}" for aim in aims.unmet(results, lake_report.AIMS))
    yield "## Bottlenecks"
    yield from _what_binds(results)
    for name, workload in results["workloads"].items():
        yield f"## {workload['title']}"
        yield _facts(workload)
        yield _markdown(*_table(workload))
        if name in aims.REMARKS:
            yield aims.REMARKS[name]
    if "real costs" in results:
        yield "## A month of all data, from a server with real costs"
        yield real_costs.facts(results["real costs"])
        yield _markdown(*real_costs.table(results["real costs"]))
    if "memory" in results:
        yield f"## {results['memory']['title']}"
        yield aims.REMARKS["memory"]
        yield _markdown(*_memory_table(results["memory"]))
        yield f"```text\n{memory_graph(results['memory']['archives'])}\n```"
    if "lake" in results:
        yield "## The lake's log"
        yield _lake_facts(results["lake"])
        yield _markdown(*_lake_table(results["lake"]))
        yield _WIDE.format(results["lake"]["windows"])
        yield _markdown(*_wide_table(results["lake"]))
        yield "The log alone. The seconds do not include those for deriving its key:"
        yield _markdown(*_log_table(results["lake"]["logs"]))
    if "coverage" in results:
        yield "## Coverage of a large study"
        yield _coverage_facts(results["coverage"])
        yield _markdown(*_coverage_table(results["coverage"]))
    if "columns" in results:
        yield "## Columns"
        yield _columns_facts(results["columns"])
        yield _markdown(*_columns_table(results["columns"]))
        yield from _columns_in_s3(results["columns"])
    for title, facts, table in lake_report.parts(results):
        yield from (f"## {title}", facts, _markdown(*table))
    yield "## Dagster at scale"
    yield (
        "[Dagster at scale](dagster-scale.md) measures definitions, sensors, backfills, and events for studies of up "
        "to 2,000 participants. [What it costs](cost.md) says what a study needs, of the server and of this machine."
    )


def _what_binds(results: Results) -> Iterator[str]:
    yield from aims.binds(results)
    shares = [
        (name, share)
        for name in ("accelerometer", "gps", "small", "audio")
        if (share := _server_share(results["workloads"].get(name))) is not None
    ]
    if shares:
        said = ", ".join(f"{name} {share:.0%}" for name, share in shares)
        yield (
            "The simulated server's share of our wall time, measured as the time to receive the same archives and "
            f"discard them: {said}."
        )
    if "limits" in results:
        dated = f", measured {results['limits taken'][:10]}" if "limits taken" in results else ""
        yield f"What one core can do, with accelerometer data if content matters{dated}:"
        yield _markdown(*_limits_table(results["limits"]))
    yield from tried.sections(results)


def _server_share(workload: Results | None) -> float | None:
    if workload is None:
        return None
    clients = workload["clients"]
    return float(clients["wire alone, v2"]["seconds"] / clients["ours"]["seconds"])


def _facts(workload: Results) -> str:
    data = workload["data"]
    dated = (
        f" Measured {workload['taken'][:10]}, {machine.load_before(workload['load'])}." if "taken" in workload else ""
    )
    return f"{data['files']:,} files, {data['size_bytes'] / _MEGA:,.1f} MB plain.{dated}"


def _table(workload: Results) -> tuple[Sequence[str], list[list[str]]]:
    clients = workload["clients"]
    return (_READING_HEAD, _reading_rows(workload)) if "pandas, plain files" in clients else (_HEAD, _rows(workload))


def _rows(workload: Results) -> list[list[str]]:
    clients, size_bytes = workload["clients"], workload["data"]["size_bytes"]
    mano = clients["mano"]["seconds"]
    rows = []
    for label, case in clients.items():
        seconds = case["seconds"]
        slept = f" ({case['slept_seconds']:,.0f} of them slept)" if case.get("slept_seconds") else ""
        rows.append(
            [
                label,
                _times(mano / seconds),
                f"{seconds:,.2f}{slept}",
                f"{case['cpu_seconds']:.2f}",
                f"{size_bytes / seconds / _MEGA:,.1f}" if case["files"] else "",
                f"{case['files'] / seconds:,.0f}" if case["files"] else "",
                f"{case['wire_bytes'] / _MEGA:,.3f} MB",
                f"{case['requests']:,.0f}",
                *_memory(case),
            ]
        )
    return rows


def _reading_rows(workload: Results) -> list[list[str]]:
    clients, size_bytes = workload["clients"], workload["data"]["size_bytes"]
    best = min(case["seconds"] for label, case in clients.items() if not label.startswith("ours"))
    rows = []
    for label, case in clients.items():
        share = case["files"] / workload["data"]["files"]
        rate = f"{size_bytes * share / case['seconds'] / _MEGA:,.0f}"
        count = f"{case['rows']:,.0f}" if "rows" in case else ""
        spent = [f"{case['seconds']:.2f}", f"{case['cpu_seconds']:.2f}"]
        rows.append([label, _times(best / case["seconds"]), *spent, rate, count, *_memory(case)])
    return rows


def _memory(case: Results) -> list[str]:
    grown = max(0, case["peak_bytes"] - case["base_bytes"])
    return [f"{case['peak_bytes'] / _MEGA:,.0f} MB", f"{grown / _MEGA:,.0f} MB"]


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} {aims.TIMES}" if ratio >= 100 else f"{ratio:.1f} {aims.TIMES}"


def _memory_table(memory: Results) -> tuple[Sequence[str], list[list[str]]]:
    rows = []
    for label, clients in memory["archives"].items():
        ours, mano = clients["ours"], clients["mano"]
        ratio = _times(mano["peak_bytes"] / ours["peak_bytes"])
        rows.append([label, ratio, *_memory(ours), *_memory(mano), _times(mano["seconds"] / ours["seconds"])])
    return ("archive", "ratio", "ours, peak", "grown by", "mano, peak", "grown by", "ratio of seconds"), rows


_LARGE = {"participants": 2000, "years": 3}
"""A study that is extrapolated to."""


def _coverage_facts(costs: Results) -> str:
    study = costs["studies"][0]
    tables = (study, study["later"])
    row_bytes, row_seconds = (
        max(each) / study["rows"]
        for each in (
            [table["peak_bytes"] - table["base_bytes"] for table in tables],
            [table["seconds"] for table in tables],
        )
    )
    rows = study["rows"] / study["participants"] / study["days"] * _LARGE["participants"] * _LARGE["years"] * 365
    return (
        f"The table `coverage` of {study['participants']} participants and {study['days']} days, with "
        f"{study['rows']:,} rows, made as a run makes it: from the manifests of all windows, and the daily counts, "
        "roster, and settings of a server in another process, then encrypted and stored. *Later* is after the newest "
        "window of everybody has changed: the rest is taken over from the table before. *Made* is without encrypting "
        "and storing. The server shares the machine, but answers what it has prepared before, because what it takes a "
        "simulator to count is not measured; each column of processor seconds is of one of the two processes. A row "
        f"takes up to {row_bytes:.0f} bytes of memory and {1e6 * row_seconds:.0f} µs, and both grow in proportion to "
        f"the rows: {_LARGE['participants']:,} participants over {_LARGE['years']} years would have "
        f"{rows / 1e6:,.0f} million, and take {rows * row_bytes / 1e9:.1f} GB and {rows * row_seconds / 60:.1f} "
        "minutes. Measured "
        f"{costs['taken'][:10]}, {machine.load_before(costs['load'], real_time=costs['real_time'])}."
    )


def _coverage_table(costs: Results) -> tuple[Sequence[str], list[list[str]]]:
    head = (
        "files per participant and day",
        "table",
        "files",
        "requests",
        "made, s",
        "with storing, s",
        "processor s",
        "the server's",
        "grown by",
    )
    return head, [
        [
            str(study["files_a_day"]),
            name,
            f"{table['files']:,}",
            f"{table['requests']:,}",
            f"{table['made_seconds']:.1f}",
            f"{table['seconds']:.1f}",
            f"{table['cpu_seconds']:.1f}",
            f"{table['server_cpu_seconds']:.1f}",
            _memory(table)[1],
        ]
        for study in costs["studies"]
        for name, table in (("first", study), ("later", study["later"]))
    ]


def _columns_facts(costs: Results) -> str:
    return (
        f"{costs['rows']:,} rows of accelerometer data of one participant in {costs['weeks']} weeks. *A week* is two "
        "columns of one week, *all* is every column and row; each is the fastest of several runs in one process, with "
        "opening the table. A table that is encrypted as a whole is the former form; checking its hashes is left out. "
        "Plain Parquet is the same file without encryption, as pyarrow reads it unless told otherwise. Bytes are what "
        "the process reads from files. "
        f"Measured {costs['taken'][:10]}, {machine.load_before(costs['load'])}."
    )


def _columns_table(costs: Results) -> tuple[Sequence[str], list[list[str]]]:
    raw = next(iter(costs["ways"].values()))
    head = ["what"]
    for what in raw:
        head += [f"{what}: processor ms", "MB", "times as fast as raw files"]
    rows = []
    for name, way in costs["ways"].items():
        row = [name]
        for what, cost in way.items():
            faster = raw[what]["cpu_seconds"] / max(cost["cpu_seconds"], 1e-9)
            row += [f"{cost['cpu_seconds'] * 1000:,.0f}", f"{cost['bytes'] / _MEGA:.1f}", f"{faster:.1f}"]
        rows.append(row)
    return head, rows


def _columns_in_s3(costs: Results) -> Iterator[str]:
    yield "The two columns of a week from the same lake in S3 (moto on loopback), with opening the study and the table:"
    rows = [
        [name, f"{cost['requests']:,}", f"{cost['bytes'] / _MEGA:.1f}"] for name, cost in costs.get("s3", {}).items()
    ]
    yield _markdown(("what", "requests", "MB"), rows)


def _lake_facts(costs: Results) -> str:
    before = " *Before* is the cost of the structures that the log replaced; both were measured one after the other."
    return (
        f"A study of {costs['participants']} participants and {costs['windows']:,} windows of seven small files; each "
        "row is one run. S3 is moto on loopback, in the same process; *of files* counts the requests for the files "
        "themselves. A new process opens a log with one request per record since its last checkpoint, at most 63. A "
        "sensor's process keeps the log open and needs two requests to look again."
        f"{before if 'before' in costs else ''} Measured {costs['taken'][:10]}, {machine.load_before(costs['load'])}."
    )


_WIDE = (
    "One window each of {:,} participants in S3, without the requests for files. For a window with a restated file, a "
    "run reads the participant's token and the window's manifest, and writes a new one and a record of the log."
)


def _wide_table(costs: Results) -> tuple[Sequence[str], list[list[str]]]:
    wide = costs["wide"]
    rows = [[name, f"{wide[name]['requests'] / costs['windows']:.1f}"] for name in wide]
    return ("what", "requests a window"), rows


def _log_table(logs: Mapping[str, Sequence[Mapping[str, float]]]) -> tuple[Sequence[str], list[list[str]]]:
    rows = [
        [
            f"{found['windows']:,.0f} windows {place}",
            f"{found['open, s']:.3f}",
            f"{found['memory, MB']:.0f} MB" if "memory, MB" in found else f"{found['requests']:.0f} requests",
            f"{found['records a second']:,.0f}",
        ]
        for place, each in logs.items()
        for found in each
    ]
    return ("a log of", "opened in s", "with", "records of 16 windows a second"), rows


def _lake_table(costs: Results) -> tuple[Sequence[str], list[list[str]]]:
    sides = [costs["before"], costs] if "before" in costs else [costs]
    head = ["what"]
    for side in sides:
        before = ", before" if side is not costs else ""
        head += [f"folder, s{before}", f"processor s{before}", f"S3, requests{before}", f"of files{before}"]
    rows = []
    for name in costs["folder"]:
        row = [name]
        for side in sides:
            folder, store = side["folder"][name], side["s3"][name]
            row += [f"{folder['seconds']:.2f}", f"{folder['cpu_seconds']:.2f}"]
            row += [f"{store['requests'] + store['of files']:,}", f"{store['of files']:,}"]
        rows.append(row)
    return head, rows


def _limits_table(limits: Mapping[str, float]) -> tuple[Sequence[str], list[list[str]]]:
    return ("what", "value"), [
        [name, f"{value:,.2f}" if value < 10 else f"{value:,.0f}"] for name, value in limits.items()
    ]


def _aims_table(results: Results) -> tuple[Sequence[str], list[list[str]]]:
    rows = [
        [aim.title, aim.wanted, found, "yes" if met else "no"]
        for aim, found, met in aims.judged(results, lake_report.AIMS)
    ]
    return ("what", "aim", "measured", "met"), rows


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
