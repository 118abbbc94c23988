"""The results store: runs, their files and scores, and archives of them."""

from ssl_bench.store.archive import Imported, export_runs, import_runs
from ssl_bench.store.convert import Converted, convert_store
from ssl_bench.store.pictures import Example, Moment, read_pictures, write_pictures
from ssl_bench.store.run import Entry, Run
from ssl_bench.store.run_folder import FORMAT, RunFolder, RunProgress, spec_of
from ssl_bench.store.scores import Scores, scores_entry
from ssl_bench.store.store import Store, find_run, load_entry, load_run, log_unreadable, reading_only

__all__ = [
    "FORMAT",
    "Converted",
    "Entry",
    "Example",
    "Imported",
    "Moment",
    "Run",
    "RunFolder",
    "RunProgress",
    "Scores",
    "Store",
    "convert_store",
    "export_runs",
    "find_run",
    "import_runs",
    "load_entry",
    "load_run",
    "log_unreadable",
    "read_pictures",
    "reading_only",
    "scores_entry",
    "spec_of",
    "write_pictures",
]
