"""A record of the methods' declarations gives what their files would, and is never older than they are."""

import itertools
import os
from pathlib import Path

import pytest

from ssl_bench import plugins
from ssl_bench.cards import authors_settings
from ssl_bench.declarations import Declarations, declare, declared_methods
from ssl_bench.declarations import load as loading
from ssl_bench.declarations import record as recording
from ssl_bench.errors import UserError
from ssl_bench.method import load_methods, parse_hyperparameters
from ssl_bench.method import registry as methods
from ssl_bench.scoring import metrics

FILE = """
from typing import Self
from pydantic import Field
from ssl_bench.method import Hyperparameters, SSLMethod, register

class Mine(Hyperparameters):
    q: float = Field(0.5, ge=0)
    where: str = "auto"

    def resolved(self, dimensions: int) -> Self:
        return self.model_copy(update={"where": f"{dimensions}D"}) if self.where == "auto" else self

@register
class Method(SSLMethod):
    name, title, reference, version = "mine", "Mine", "Nobody 2026", 1
    components = frozenset({"TS"})
    authors = {"q": 0.25, "betas": (0.5, 0.9), "rampup_epochs": "none", "ema_warmup": True}
    reconstructed = True
    hyperparameters = Mine
"""
METRIC = """
from ssl_bench.scoring import Metric, register_metric

@register_metric(Metric("counted", "Counted", "share"))
def counted(masks):
    return 1.0
"""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of the test's own; registries that forget; a process that has not imported the methods."""
    monkeypatch.setenv("SSL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "has_methods", lambda: False)
    monkeypatch.setattr(loading, "is_package_unchanged", lambda: True)
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))
    for module, name in ((methods, "_REGISTRY"), (metrics, "METRICS"), (metrics, "FUNCTIONS")):
        monkeypatch.setattr(module, name, dict(getattr(module, name)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.mkdir()
    (path / "mine.py").write_text(FILE)
    return path


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, ...]]:
    """Counts how often the method files are imported."""
    made: list[tuple[Path, ...]] = []
    imported = loading._imported

    def counted(folders: tuple[Path, ...]) -> dict[str, loading.Declaration]:
        made.append(folders)
        return imported(folders)

    monkeypatch.setattr(loading, "_imported", counted)
    return made


def ask(folder: Path, given: dict[str, object] | None = None) -> tuple[str, int, object]:
    with declared_methods(folder) as found:
        one = found["mine"]
        return one.title, one.version, one.resolve(given or {}, 2)


def plain(found: Declarations, settings: dict[str, dict[str, object]]) -> dict[str, object]:
    return {
        name: (
            one.name, one.title, one.version, one.components, one.fields, authors_settings(one.authors, {}, 2),
            one.reconstructed,
            [one.resolve(given, d) for given, d in itertools.product(({}, settings.get(name, {})), (2, 3))],
        )
        for name, one in found.items()
    }  # fmt: skip


def test_a_record_says_what_the_classes_say(folder: Path, imports: list[tuple[Path, ...]]) -> None:
    made, settings = imports, {"ucmt": {"k": 5}, "mine": {"q": 0.1}, "cps-cutmix": {"low": 0.125}}
    seen = []
    for _ in range(2):
        with declared_methods(folder) as found:
            seen.append(plain(found, settings))
    assert len(made) == 1, "the second time, no file is imported"
    classes = load_methods(folder)
    assert list(seen[0]) == list(seen[1]) == list(classes)
    assert seen[0]["mine"][5] == {"q": 0.25, "betas": [0.5, 0.9], "rampup_epochs": "none", "ema_warmup": True}  # type: ignore[index]
    for name, method in classes.items():
        expected = [
            parse_hyperparameters(method, dict(given)).resolved(d).model_dump(mode="json")
            for given, d in itertools.product(({}, settings.get(name, {})), (2, 3))
        ]
        fields = set(method.hyperparameters.model_fields)
        authors = authors_settings(method.authors, {}, 2)
        own = (authors, method.reconstructed)
        one = (name, method.title, method.version, method.components, fields, *own, expected)
        assert seen[0][name] == seen[1][name] == one
        assert repr(seen[0][name][-1]) == repr(seen[1][name][-1]) == repr(expected), "1 and 1.0 and True differ"  # type: ignore[index]


def test_an_edited_file_is_read_anew(folder: Path, imports: list[tuple[Path, ...]]) -> None:
    made, path = imports, folder / "mine.py"
    assert ask(folder) == ask(folder) == ("Mine", 1, {"q": 0.5, "where": "2D"})
    before = path.stat()
    path.write_text(FILE.replace("0.5", "0.7").replace('"Mine"', '"Ours"'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # the same size and time
    assert ask(folder) == ask(folder) == ("Ours", 1, {"q": 0.7, "where": "2D"})
    path.write_text(FILE)
    assert ask(folder) == ("Mine", 1, {"q": 0.5, "where": "2D"})
    assert len(made) == 2


def test_unknown_settings_are_asked_of_the_file(folder: Path, imports: list[tuple[Path, ...]]) -> None:
    made = imports
    ask(folder)
    assert ask(folder, {"q": 1})[2] == ask(folder, {"q": 1})[2] == {"q": 1.0, "where": "2D"}
    assert len(made) == 2
    with pytest.raises(UserError, match=r"--set \(mine\): q: .*greater than or equal to 0"):
        ask(folder, {"q": -1})
    with pytest.raises(UserError, match=r"--set \(mine\): q: .*greater than or equal to 0"):
        ask(folder, {"q": -1})


def test_a_change_of_the_package_makes_a_new_record(
    folder: Path, imports: list[tuple[Path, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = imports
    ask(folder)
    module = tmp_path / "module.py"
    module.write_text("new")
    monkeypatch.setattr(recording, "_package_files", lambda: iter([module]))
    ask(folder)
    module.write_text("old")
    ask(folder)
    ask(folder)
    assert len(made) == 3


def test_a_process_that_is_older_than_the_package_keeps_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(recording, "IMPORTED", 0.0)
    assert not recording.is_package_unchanged()
    monkeypatch.setattr(recording, "IMPORTED", 1e12)
    assert recording.is_package_unchanged()


def test_a_file_that_is_edited_while_it_is_read_is_one_clear_line(folder: Path) -> None:
    ask(folder)
    with declared_methods(folder) as found:
        (folder / "mine.py").write_text(FILE.replace("0.5", "0.7"))
        with pytest.raises(UserError, match=r"mine\.py: changed while it was read; run the command again"):
            found["mine"].resolve({"q": 1}, 2)
    assert ask(folder, {"q": 1})[2] == {"q": 1.0, "where": "2D"}


@pytest.mark.parametrize("damage", [b"", b"{}", b"0\n{}", None])
def test_a_damaged_record_is_no_record(
    folder: Path, damage: bytes | None, tmp_path: Path, imports: list[tuple[Path, ...]]
) -> None:
    made = imports
    expected = ask(folder)
    (path,) = (tmp_path / "cache" / "methods").iterdir()
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.7") if damage is None else damage)
    assert ask(folder) == ask(folder) == expected
    assert len(made) == 2


def test_without_a_writable_cache_the_files_are_imported(
    folder: Path, tmp_path: Path, imports: list[tuple[Path, ...]]
) -> None:
    made = imports
    (tmp_path / "cache").write_text("no folder")
    assert ask(folder) == ask(folder) == ("Mine", 1, {"q": 0.5, "where": "2D"})
    assert len(made) == 2


def test_a_metric_beside_the_methods_is_always_imported(folder: Path, imports: list[tuple[Path, ...]]) -> None:
    made = imports
    (folder / "counted.py").write_text(METRIC)
    ask(folder)
    del metrics.METRICS["counted"]
    plugins._TEXTS.clear()
    ask(folder)
    assert "counted" in metrics.METRICS
    assert len(made) == 1


def test_a_method_whose_file_reads_something_else_is_not_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (folder / "mine.py").write_text("import os\n" + FILE.replace("(0.5", '(float(os.environ["MINE"])'))
    for value in ("0.25", "0.75"):
        monkeypatch.setenv("MINE", value)
        plugins._TEXTS.clear()
        methods._REGISTRY.clear()
        answers = iter([False, True])  # importing the file imports the methods
        monkeypatch.setattr(loading, "has_methods", answers.__next__)
        assert ask(folder)[2] == {"q": float(value), "where": "2D"}
    assert not (tmp_path / "cache" / "methods").exists()


def test_a_missing_folder_is_the_same_error(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="--methods-dir: expected a folder, found none at"),
        declared_methods(tmp_path / "no"),
    ):
        pass


def test_settings_that_json_cannot_hold_are_not_recorded() -> None:
    assert recording.question("mine", {"q": {1, 2}}, 2) is None
    assert recording.question("mine", {"q": float("nan")}, 2) is None
    assert len({recording.question("mine", {"q": value}, 2) for value in (1, 1.0, True, "1")}) == 4


def test_a_declaration_of_a_class() -> None:
    one = declare(load_methods()["ucmt"])
    assert one.resolve({"k": 3}, 3) == {"k": 3, "r": 8}
