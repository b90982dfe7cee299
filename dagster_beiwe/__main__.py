"""``python -m dagster_beiwe``: the command line."""

from dagster_beiwe.cli import main

raise SystemExit(main())
