"""Plays ``dagster dev`` for the demo: answers like its pages, and leaves a process behind that ignores Ctrl-C."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
from pathlib import Path

DEAF = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def main(port: int, processes: Path) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", DEAF])
    part = processes.with_suffix(".part")
    part.write_text(f"{os.getpid()} {child.pid}")
    part.rename(processes)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("Traceback (most recent call last): as each of Dagster's processes prints it", flush=True)
    http.server.HTTPServer(("127.0.0.1", port), Pages).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
