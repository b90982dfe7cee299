"""Print what the leak hunt looked at and what it found: ``python tests/leaks/leak_report.py`` (a minute)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from leak_planted import TOKENS
from test_leaks import DATA, Hunt, hunt


def table(clean: Hunt, planted: Hunt) -> str:
    files = [path for path in clean.folder.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    databases = sum(path.suffix == ".db" for path in files)
    answers = len(clean.text("graphql.json")) / 1e6
    caught = {leak.canary for leak in planted.everywhere()} & TOKENS.keys()
    written = "not watched (no strace)"
    if clean.written is not None:
        written = f"{clean.files_written} files, {clean.bytes_written / 1e6:.1f} MB; {len(clean.written)}"
    on_disk = f"{len(files)} files, {databases} databases, {megabytes:.1f} MB; {len(clean.on_disk)}"
    guarded = f"{len(clean.guarded)}; files without a name: {len(clean.anonymous)}"
    rows = (
        ("canaries, forms of each looked for", f"{len(DATA)} in data, 6 secrets; {len(clean.needles.forms)} forms"),
        (
            "on disk afterwards; leaks",
            on_disk,
        ),
        ("answers of the UI among them", f"{answers:.1f} MB"),
        ("written to files at any time, deleted ones too; leaks", written),
        ("leaks seen by the guard inside the process", guarded),
        ("planted leaks; found", f"{len(TOKENS)}; {len(caught)}"),
    )
    return "\n".join(("| what | number |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name in ("clean", "planted"):
            Path(folder, name).mkdir()
        print(table(hunt(Path(folder, "clean"), plant=False), hunt(Path(folder, "planted"), plant=True)))
