"""Peak memory over the size of an archive, drawn with characters: it needs no program to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WIDTH = 60
_MEGA = 1_000_000


def memory_graph(archives: Mapping[str, Mapping[str, Any]]) -> str:
    """Two bars for each archive, on one scale."""
    highest = max(clients[name]["peak_bytes"] for clients in archives.values() for name in ("ours", "mano"))
    label_width = max(len(label) for label in archives)
    lines = []
    for label, clients in archives.items():
        for name, mark in (("ours", "█"), ("mano", "░")):
            peak = clients[name]["peak_bytes"]
            bar = mark * max(1, round(_WIDTH * peak / highest))
            lines.append(f"{(label if name == 'ours' else '').ljust(label_width)}  {name} {bar} {peak / _MEGA:,.0f} MB")
    return "\n".join(lines)
