"""What the leak hunt looked at and what it found, for docs/reliability.md. Takes a minute.

python tests/leaks/leak_report.py            print the table
python tests/leaks/leak_report.py --write    put it into the document
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from leak_planted import PLACES, TOKENS, UNSHOWN

sys.path.append(str(Path(__file__).parents[1] / "support"))
import measured
from test_leaks import DATA, Hunt, caught, hunt

ROWS = (
    "canaries; forms looked for",
    "on disk afterwards; leaks",
    "answers of the UI among them",
    "written to files at any time, deleted ones too; leaks",
    "bytes that came into a file without a write",
    "leaks seen by the guard inside the process; files without a name",
    "planted leaks; found",
)


def table(clean: Hunt, planted: Hunt) -> str:
    files = [path for path in clean.folder.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    databases = sum(path.suffix == ".db" for path in files)
    written, unshown = "not watched (no strace)", "not watched (no strace)"
    if clean.written is not None:
        sizes = f"{clean.written.files} files, {clean.written.bytes / 1e6:.1f} MB"
        written, unshown = f"{sizes}; **{len(clean.written.leaks)}**", f"**{len(clean.written.unshown)}**"
    mistakes = [*TOKENS, *PLACES, *UNSHOWN]
    values = (
        f"{len(DATA)} in data, 6 secrets; {len(clean.needles.forms)}",
        f"{len(files)} files, {databases} databases, {megabytes:.1f} MB; **{len(clean.on_disk)}**",
        f"{len(clean.text('graphql.json')) / 1e6:.1f} MB",
        written,
        unshown,
        f"**{len(clean.guarded)}**; **{len(clean.anonymous)}**",
        f"{len(mistakes)}; **{sum(caught(planted, name) for name in mistakes)}**",
    )
    return measured.table(("what", "number"), zip(ROWS, values, strict=True))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("clean", "planted"):
            Path(folder, name).mkdir()
        text = table(hunt(Path(folder, "clean"), plant=False), hunt(Path(folder, "planted"), plant=True))
    print(text)
    if "--write" in sys.argv:
        measured.write("leaks", text, command="python tests/leaks/leak_report.py --write")


if __name__ == "__main__":
    main()
