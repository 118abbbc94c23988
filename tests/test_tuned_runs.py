"""Runs at the settings of their methods' authors: the same as with these settings set, from every command."""

import logging
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Call, assert_error

import ssl_bench
from ssl_bench import plugins
from ssl_bench.cards import Request, load_benchmark
from ssl_bench.errors import UserError
from ssl_bench.launch.task import run_task
from ssl_bench.method import load_methods
from ssl_bench.method import registry as registry_module
from ssl_bench.store import Store
from ssl_bench.training.device import choose_device
from ssl_bench.training.tuned import every_method, plan_tuned, tuned_requests

METHOD = '''
"""A method as a user writes it."""

from pydantic import Field

from ssl_bench.method import Hyperparameters, SSLMethod, Update, register
from ssl_bench.ops import dice_loss, entropy


class Own(Hyperparameters):
    q: float = Field(0.5, ge=0, description="a weight")


@register
class Mine(SSLMethod):
    name = "mine"
    title = "Mine"
    reference = "Nobody, 2026"
    group = "pseudo label"
    year = 2026
    venue = "Nowhere"
    authors = {"lambda_max": 1.0, "rampup_epochs": "none", "q": 0.25}
    reconstructed = True
    hyperparameters = Own

    def __init__(self, setup, hyper):
        super().__init__(setup, hyper)
        self.network = self.new_student()

    def updates(self, batch, progress):
        supervised = dice_loss(self.network(batch.labeled.student1), batch.labels, self.protocol.dice_smooth)
        unsure = entropy(self.network(batch.unlabeled.student1).float().softmax(1)).mean()
        yield Update({"supervised": (1.0, supervised), "entropy": (progress.lambda_u, self.hyper.q * unsure)})

    @property
    def predictor(self):
        return self.network
'''
OWN = {"lambda_max": 1.0, "rampup_epochs": "none", "q": 0.25}
WORDS = ["--dataset", "demo", "--protocol", "tiny", "--labeled", "10%", "--iterations", "2", "--device", "cpu"]
NOTE = "note: --tuned authors: no authors' settings for supervised: as with --tuned common"


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and registries that forget."""
    monkeypatch.setattr(registry_module, "_REGISTRY", dict(registry_module._REGISTRY))
    monkeypatch.setattr(plugins, "_TEXTS", dict(plugins._TEXTS))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "my_methods"
    path.mkdir()
    (path / "mine.py").write_text(METHOD)
    return path


def run(folder: Path, methods: Any, **more: Any) -> Any:
    given: dict[str, Any] = {"settings": {"iterations": 2}} | more
    return ssl_bench.run(methods, "demo", protocol="tiny", labeled="10%", device="cpu", methods_dir=folder, **given)


def test_a_tuned_run_is_the_run_with_its_settings_set(folder: Path, call: Call) -> None:
    words = ["run", "--methods", "supervised,mine", *WORDS, "--methods-dir", folder]
    code, out, err = call(*words, "--tuned", "authors", "--set", "q=0.125")
    assert code == 0
    assert err.splitlines() == [NOTE]
    assert "Mine§‡" in out
    assert "‡: at its authors' settings; a row without ‡ is at the protocol's. Mine§‡: lambda_max = 1.0" in out
    assert "§: reconstructed from its description" in out
    shown = next(line for line in out.splitlines() if line.startswith("A table of these runs: "))
    assert "--tuned authors" in shown
    runs = Store(Path("results")).runs()
    assert len(runs) == 2
    for one in runs:
        protocol = one.spec.protocol
        tuned = (protocol.lambda_max, protocol.rampup_epochs, one.spec.hyperparameters.get("q"))
        assert tuned == ((1.0, "none", 0.125) if one.spec.method == "mine" else (0.1, "run", None))
        assert one.provenance["command"] == shlex.join(["ssl-bench", *map(str, words), *(
            ["--tuned", "authors", "--set", "q=0.125"]
        )])  # fmt: skip
    # the same with plain settings, and nothing is trained again
    plain = run(folder, "mine", settings={"iterations": 2, **OWN, "q": 0.125})
    assert (plain.outcome.trained, plain.outcome.already_finished) == (0, 1)
    again = ssl_bench.score(plain.runs, methods_dir=folder)
    assert again.table is not None
    assert str(again.table.rows[0][1]).startswith("mine§ · demo ")
    assert any(note.startswith("§: reconstructed from its description") for note in again.table.notes)
    common = run(folder, "mine", settings={"iterations": 2, "q": 0.125})
    assert common.outcome.trained == 1
    assert common.table.rows[0][0] == "Mine§"
    assert not any("‡" in note for note in common.table.notes)
    weights = [float(one.curves["lambda"].iloc[0]) for one in (plain.runs[0], common.runs[0])]
    assert weights == pytest.approx([1.0, 0.1])  # at the last iteration, where the common ramp-up ends


def test_the_runs_of_all_methods_are_ordered_by_seed(folder: Path, tmp_path: Path) -> None:
    load_methods(folder)
    request = Request(
        load_benchmark("demo"), ("mine", "supervised", "cps", "mine"), "10%", "tiny", {"q": 0.75, "boxes": 2}, (2, 1)
    )
    with pytest.raises(UserError, match="--set boxes: unknown key"):
        tuned_requests(request, "authors")
    asked = tuned_requests(Request(**{**vars(request), "settings": {"q": 0.75}}), "authors")
    assert {name: one.request.settings for name, one in asked.items()} == {
        "mine": {"lambda_max": 1.0, "rampup_epochs": "none", "q": 0.75}, "supervised": {},
        "cps": {"lambda_max": 1.5, "rampup_epochs": "none"},
    }  # fmt: skip
    pairs = plan_tuned(
        asked, choose_device("cpu"), None, allow_partial=False, advance=None, store=Store(tmp_path / "none")
    )
    assert [(job.spec.seed, job.spec.method) for _, job in pairs] == [
        (2, "mine"), (2, "supervised"), (2, "cps"), (1, "mine"), (1, "supervised"), (1, "cps"),
    ]  # fmt: skip
    words = [shlex.join(run_task(request, job, (), Store(tmp_path / "none")).words) for request, job in pairs[:3]]
    common = "run --methods {} --dataset demo --labeled 10% --protocol tiny --seeds 2"
    assert words == [
        f"{common.format('mine')} --set lambda_max=1.0 --set rampup_epochs=none --set q=0.75",
        common.format("supervised"),
        f"{common.format('cps')} --set lambda_max=1.5 --set rampup_epochs=none",
    ]


@pytest.mark.slow
def test_processes_of_a_pool_train_what_was_planned(folder: Path, tmp_path: Path) -> None:
    found = run(folder, ["supervised", "mine"], tuned="authors", jobs=2, results_root=tmp_path / "pool")
    assert (found.outcome.trained, found.outcome.failures) == (2, [])
    assert [one.spec.protocol.lambda_max for one in found.runs] == [0.1, 1.0]
    assert [one.spec.hyperparameters.get("q") for one in found.runs] == [None, 0.25]


def test_a_tables_missing_runs_are_trained_and_shown(folder: Path, call: Call, tmp_path: Path) -> None:
    card = tmp_path / "mine.toml"
    card.write_text("""
        kind = "table"
        title = "Mine"
        baseline = "supervised"
        columns = [{ dataset = "demo", labeled = "10%" }]
        rows = [{ title = "Supervised", method = "supervised" }, { title = "Mine", method = "mine" }]
    """)
    words = ["--table", card, "--protocol", "tiny", "--iterations", "2", "--methods-dir", folder, "--tuned", "both"]
    code, out, _ = call("reproduce", *words, "--seeds", "1", "--dry-run")
    assert code == 0
    assert "3 of 3 runs are missing" in out
    assert "lambda_max=1.0 rampup_epochs=none" in out
    code, out, _ = call("report", *words)
    assert code == 0
    (command,) = [line for line in out.splitlines() if line.startswith("missing runs: `") and "lambda_max" in line]
    assert call(*shlex.split(command.partition("`")[2].rstrip("`"))[1:], "--device", "cpu", "--seeds", "1")[0] == 0
    everything = next(line for line in out.splitlines() if line.startswith("missing runs: all of them by `"))
    asked = shlex.split(everything.partition("`")[2].rstrip("`"))[1:]
    code, out, err = call(*asked, "--device", "cpu")
    assert (code, err) == (0, "")
    code, out, _ = call("report", *words)
    assert "missing runs" not in out
    assert all(f"│ {title} " in out for title in ("Supervised", "Mine§", "Mine§‡"))


def test_all_means_every_method_that_fits(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_methods(folder)
    request = Request(load_benchmark("demo"), ("mt", "all"), "10%", "tiny", {}, (1,))
    with caplog.at_level(logging.INFO, "ssl_bench"):
        found = every_method(request, choose_device("cpu"))
    assert sorted(found.methods) == ssl_bench.list_methods(folder)
    assert found.methods[0] == "supervised"  # the groups in their order
    assert caplog.messages == []
    with caplog.at_level(logging.INFO, "ssl_bench"):
        found = every_method(replace(request, settings={"network": "monai:UNet"}), choose_device("cpu"))
    assert "cct" not in found.methods
    needing = {name for name, method in load_methods(folder).items() if method.needs_parts}
    assert {line.partition(" is left out: ")[0] for line in caplog.messages} == {f"note: {name}" for name in needing}
    assert set(found.methods) == set(ssl_bench.list_methods(folder)) - needing
    assert every_method(replace(request, methods=("mt",)), choose_device("cpu")).methods == ("mt",)


@pytest.mark.slow
def test_a_sweep_searches_around_the_authors_settings(folder: Path, call: Call) -> None:
    words = ["sweep", "--method", "mine", *WORDS, "--methods-dir", folder, "--tuned", "authors", "--objective", "none"]
    code, _, err = call(*words, "--param", "lambda_max=0.5,2.0")
    assert code == 0, err
    found = {(one.spec.protocol.lambda_max, one.spec.protocol.rampup_epochs) for one in Store(Path("results")).runs()}
    assert found == {(0.5, "none"), (2.0, "none")}
    assert {one.spec.hyperparameters["q"] for one in Store(Path("results")).runs()} == {0.25}


def test_wrong_settings_and_choices_are_one_line(folder: Path, call: Call) -> None:
    words = ["run", "--methods", "mine", *WORDS, "--methods-dir", folder]
    assert_error(call(*words, "--tuned", "both"), "--tuned: expected common or authors, found 'both'")
    code, out, _ = call(*words, "--tuned", "authors", "--dry-run")
    assert code == 0
    assert "1 missing" in out
    assert_error(call("report", "--table", "4", "--tuned", "his"), "--tuned: expected one of common, authors, both")
    (folder / "mine.py").write_text(METHOD.replace('"lambda_max": 1.0', '"lambda_max": -1.0'))
    assert_error(call(*words, "--tuned", "authors"), "--tuned authors: mine: ", "lambda_max", "-1.0")
    assert call(*words, "--dry-run")[0] == 0
    (folder / "mine.py").write_text(METHOD.replace('"lambda_max": 1.0', '"lambda_maxx": 1.0'))
    assert_error(call(*words), "mine.py: authors of 'mine'", "'lambda_maxx'; did you mean lambda_max?")


def test_methods_are_listed_with_their_authors_settings_and_signs(folder: Path, call: Call) -> None:
    code, out, _ = call("methods", "--methods-dir", folder)
    assert code == 0
    assert "Pseudo label: " in out
    (line,) = [line for line in out.splitlines() if line.startswith("│ mine ")]
    assert [cell.strip() for cell in line.split("│")[1:5]] == ["mine", "Mine§", "2026", "Nowhere"]
    assert "§: reconstructed from its description" in out
    code, out, _ = call("methods", "--methods-dir", folder, "--methods", "mine")
    assert "Its authors' settings (`--tuned authors`): lambda_max = 1.0, rampup_epochs = none, q = 0.25." in out
    code, out, _ = call("methods", "--methods-dir", folder, "--markdown")
    assert "### Mine§ (`mine`)" in out
    assert "reconstructed from its description" in out
