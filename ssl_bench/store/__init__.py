"""The results store: runs, their files and scores, and archives of them."""

from ssl_bench.store.archive import export_runs, import_runs
from ssl_bench.store.pictures import Example, Moment, read_pictures, write_pictures
from ssl_bench.store.run_folder import FORMAT, Progress, RunFolder, spec_of
from ssl_bench.store.store import Entry, Run, Store

__all__ = [
    "FORMAT",
    "Entry",
    "Example",
    "Moment",
    "Progress",
    "Run",
    "RunFolder",
    "Store",
    "export_runs",
    "import_runs",
    "read_pictures",
    "spec_of",
    "write_pictures",
]
