"""How the page of costs writes its tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_plain(figure: str, value: float) -> str:
    if figure.endswith("_bytes"):
        return as_size(value)
    return as_number(value) if figure.endswith("seconds") else f"{value:,.0f}"


def as_percent(value: float) -> str:
    """With its sign, which a zero does not have."""
    return f"{round(value):+d} %" if round(value) else "0 %"


def as_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def as_seconds(value: float) -> str:
    return f"{as_number(value)} s" if value >= 0.01 or not value else f"{as_number(1000 * value)} ms"


def as_duration(value: float) -> str:
    return as_seconds(value) if value < 60 else f"{value / 60:,.1f} min"


def as_size(size_bytes: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:,.{0 if size_bytes >= 100 * factor else 1}f} {unit}"
    return f"{size_bytes:,.0f} B"
