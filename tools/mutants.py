"""Plants single-line faults, one per module that decides a number or keeps a run, and runs the tests that must fail.

`python tools/mutants.py [NAME...]` prints a line for each; exit code 1 where a fault survives its tests.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
COPIED = ("ssl_bench", "methods", "benchmarks", "tests", "results/published", "examples", "pyproject.toml", "README.md")


@dataclass(frozen=True)
class Mutant:
    """A fault: `old` stands once in `path` and is replaced by `new`; one of the tests at `tests` must fail."""

    name: str
    path: str
    old: str
    new: str
    tests: str


MUTANTS = (
    Mutant("dice", "ssl_bench/ops/loss.py", "(2 * overlap + smooth)", "(2 * overlap)", "tests/ops/test_loss.py"),
    Mutant("ema", "ssl_bench/ops/ema.py", "alpha=(1 - alpha) * weight", "alpha=1 - alpha", "tests/ops/test_ema.py"),
    Mutant("ramp", "ssl_bench/ops/ramp.py", "-5.0 * remaining", "-4.0 * remaining", "tests/ops/test_ramp.py"),
    Mutant("umix", "ssl_bench/ops/umix.py", "source.scatter_(1, uncertain1, certain2)\n    else",
           "source.scatter_(1, uncertain1, certain1)\n    else", "tests/ops/test_umix.py"),
    Mutant("cutmix", "ssl_bench/ops/cutmix.py", "parity ^= other", "parity |= other", "tests/ops/test_cutmix.py"),
    Mutant("uncertainty", "ssl_bench/ops/uncertainty.py", ".softmax(1)) / 2)", ".softmax(1)))",
           "tests/ops/test_uncertainty.py"),
    Mutant("cps", "methods/cps.py", "hard_labels(y2)", "hard_labels(y1)", "tests/methods"),
    Mutant("mt", "methods/mt.py", "iteration=progress.iteration - 1", "iteration=progress.iteration", "tests/method"),
    Mutant("split", "ssl_bench/data/split.py", "if kept_whole[name] not in held_out]", "]", "tests/data/test_split.py"),
    Mutant("groups", "ssl_bench/data/split.py", "name if groups is None else groups[name] for", "name for",
           "tests/data/test_groups.py::test_no_group_is_on_two_sides"),
    Mutant("batches", "ssl_bench/data/batches.py", "[place % len(pool)]", "[0]", "tests/data/test_batches.py"),
    Mutant("augment", "ssl_bench/data/augment.py", "mirror_y * sin", "mirror_x * sin", "tests/data/test_augment.py"),
    Mutant("augment3d", "ssl_bench/data/augment3d.py", "(4 * sigmas + 0.5)", "(3 * sigmas + 0.5)",
           "tests/data/test_augment3d.py"),
    Mutant("cache", "ssl_bench/data/cache.py", "fingerprint.update(source.reading.encode())", "pass",
           "tests/data/test_cache.py"),
    Mutant("volumes", "ssl_bench/data/volumes.py", "((image - mean) / deviation)", "(image - mean)",
           "tests/data/test_volumes.py"),
    Mutant("fetch", "ssl_bench/data/fetch.py", "start, total = 0, _length(answer)", "total = _length(answer)",
           "tests/data/test_download.py"),
    Mutant("unpack", "ssl_bench/data/unpack.py", 'or ".." in path.parts', "", "tests/data/test_download.py"),
    Mutant("metrics", "ssl_bench/scoring/metrics.py", ", 95))", ", 90))", "tests/scoring/test_metrics.py"),
    Mutant("windows", "ssl_bench/scoring/inference.py", "covered[start : start + size] += 1",
           "covered[start : start + size] = 1", "tests/scoring/test_windows.py"),
    Mutant("scorer", "ssl_bench/scoring/scorer.py", "cases // BATCH * BATCH", "cases",
           "tests/scoring/test_scorer.py"),
    Mutant("trainer", "ssl_bench/training/iteration.py", "        updates.close(update, progress)\n", "",
           "tests/training/test_trainer.py"),
    Mutant("updates", "ssl_bench/training/method_check.py", "self.count > declared", "self.count > declared + 1",
           "tests/training/test_method_check.py"),
    Mutant("checkpoint", "ssl_bench/training/iteration.py", '"optimizer": self.networks.state_dict()',
           '"optimizer": torch.optim.AdamW(self.networks.param_groups[0]["params"], fused=True).state_dict()',
           "tests/training/test_trainer.py"),
    Mutant("selection", "ssl_bench/training/selection.py", "self.is_selectable and mean <= self.best_loss",
           "self.is_selectable and mean >= self.best_loss", "tests/training/test_trainer.py"),
    Mutant("identity", "ssl_bench/cards/runspec.py", "{*WORDS, \"split\", *fields_that(\"measures\", kind)",
           "{*WORDS, \"split\", \"ema_decay\", *fields_that(\"measures\", kind)", "tests/cards"),
    Mutant("measurement", "ssl_bench/cards/measurement.py", "fields = (*SEEING, *METRICS[metric].parameters)",
           "fields = METRICS[metric].parameters", "tests/training/test_rescore.py"),
    Mutant("store", "ssl_bench/store/store.py", "except Timeout:\n            yield False",
           "except Timeout:\n            yield True", "tests/store/test_store.py"),
    Mutant("finished", "ssl_bench/store/run_folder.py", "_update(status=\"finished\"", "_update(status=\"running\"",
           "tests/store/test_store.py"),
    Mutant("archive", "ssl_bench/store/archive.py", "read_cases(contents[name], scores.sha256",
           "len(contents[name]), (scores.sha256", "tests/store/test_archive.py"),
    Mutant("convert", "ssl_bench/store/convert.py", "        if reason:\n", "        if False:\n",
           "tests/store/test_convert.py"),
    Mutant("cell", "ssl_bench/grids/match.py", "and spec.hyperparameters == dict(self.hyperparameters)", "",
           "tests/reporting/test_report.py tests/reporting/test_tables.py"),
    Mutant("authors", "ssl_bench/cards/settings.py", "if key not in left_out}", "}", "tests/grids/test_tuned.py"),
    Mutant("floor", "ssl_bench/statistics/anova.py", "return max(self.by_seed, self.rest)", "return self.by_seed",
           "tests/statistics/test_anova.py"),
    Mutant("error term", "ssl_bench/statistics/column.py", "return tuple(kept)", "return tuple(kept[:2])",
           "tests/statistics/test_column.py"),
    Mutant("videos", "ssl_bench/statistics/cell.py", "* sizes / sizes.mean()", "",
           "tests/statistics/test_cell.py"),
    Mutant("prediction", "ssl_bench/statistics/anova.py", "same_cases else 2 /", "same_cases else 1 /",
           "tests/statistics/test_cell.py"),
    Mutant("holm", "ssl_bench/reporting/analysis.py",
           "corrected(compared, every)", "corrected(compared, len(spots) - 1)",
           "tests/reporting/test_tables.py"),
    Mutant("verdict", "ssl_bench/reporting/analysis.py", "value > high", "value < high",
           "tests/reporting/test_tables.py"),
    Mutant("pool", "ssl_bench/launch/pool.py", "outcome.user_error |= code == 2", "pass",
           "tests/launch/test_launch.py"),
    Mutant("sweep", "ssl_bench/sweep/worker.py", "found[\"undefined\"]", "False", "tests/sweep/test_worker.py"),
    Mutant("predict", "ssl_bench/prediction/masks.py", "maps = [label_values(spec)[",
           "maps = [np.arange(256, dtype=np.uint8)[", "tests/test_prediction.py"),
    Mutant("flips", "ssl_bench/prediction/scores.py", "scores.flip([1 + axis for axis in flip]) if flip else scores",
           "scores", "tests/prediction/test_averaging.py"),
    Mutant("compare", "ssl_bench/reporting/run_comparison.py", "sign = 1 if METRICS[metric].larger_is_better else -1",
           "sign = 1", "tests/reporting/test_run_comparison.py"),
)  # fmt: skip


def main() -> None:
    """Plant each fault in a copy of the repository and run its tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="faults to plant; all by default")
    names = parser.parse_args().names
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"expected some of {', '.join(mutant.name for mutant in MUTANTS)}; found {', '.join(unknown)}")
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, copy / name)
        survivors = [mutant.name for mutant in chosen if not is_killed(mutant, copy)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} killed")
    if survivors:
        sys.exit(f"survived: {', '.join(survivors)}")


def is_killed(mutant: Mutant, copy: Path) -> bool:
    """Whether a test fails once the fault is there; the file is restored."""
    path = copy / mutant.path
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        sys.exit(f"{mutant.name}: expected its line once in {mutant.path}, found it {text.count(mutant.old)} times")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "", *mutant.tests.split()]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    path.write_text(text, encoding="utf-8")
    killer = next((line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "")
    is_dead = done.returncode == 1 and bool(killer)
    how = f"killed by {killer.partition(' ')[2].partition(' - ')[0]}" if is_dead else "SURVIVED"
    print(f"{mutant.name}: {how} ({time.monotonic() - begun:.0f} s)", flush=True)
    return is_dead


if __name__ == "__main__":
    main()
