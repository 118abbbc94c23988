"""The command line: what it prints, its exit codes, and that a mistake costs one clear line and changes nothing."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, Call, CommandLine, assert_error, write_dataset
from facts import FACTS
from handwritten import cases_file
from PIL import Image

from ssl_bench import BENCHMARKS_DIR, __version__
from ssl_bench.cards import card_names
from ssl_bench.method.contract import Group

METHODS = sorted(FACTS)
TABLE_4 = {
    "Supervised": "83.31", "MT": "86.67", "CPS": "86.81", "CMTv1": "86.84", "CMTv2": "87.48", "CMTv3": "87.86",
    "UCMT": "88.22",
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data root with nine discs in Kvasir's layout: 8 train, 1 tests."""
    return write_dataset(tmp_path / "data", "kvasir", [f"c{number}" for number in range(9)])


def run_arguments(data: Path, **changes: str) -> list[str]:
    """The arguments of a tiny run, with some options replaced."""
    options = {
        "--methods": "supervised", "--dataset": "kvasir", "--labeled": "2", "--protocol": "tiny",
        "--data-root": str(data), "--device": "cpu",
    }  # fmt: skip
    options |= {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    return ["run", "--allow-partial", *(word for pair in options.items() for word in pair)]


def assert_refused(answer: tuple[int, str, str], *words: str, lines: int = 1) -> None:
    """Exit code 2 and `lines` lines on stderr that hold the words; the results root, ./results, is not there."""
    assert_error(answer, *words, lines=lines)
    assert not Path("results").exists()


# ------------------------------------------------------------------------------------------------------- whole commands


def test_help_is_there_at_once_and_without_torch() -> None:
    seconds = []
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    for _ in range(3):
        before = os.times()
        told = subprocess.run(
            [sys.executable, "-m", "ssl_bench", "--help"], capture_output=True, text=True, check=True, env=environment
        )
        after = os.times()  # of the processor, since the machine may be busy
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 1.0
    for command in ("run", "report", "status", "methods", "benchmarks", "data"):
        assert f"│ {command} " in told.stdout
    program = (
        "import sys; from ssl_bench.cli import main; sys.argv = ['ssl-bench', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "slow = {'torch', 'numpy', 'pandas', 'pydantic', 'matplotlib'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env=environment)


def test_a_comparison_from_the_command_to_the_papers_table(cli: CommandLine, data: Path, call: Call) -> None:
    arguments = run_arguments(data, methods="supervised,mt,ucmt", seeds="1,2", set="iterations=2")
    first = cli(*arguments)
    assert (first.returncode, first.stderr) == (0, "")
    assert "kvasir, 2 of 8 images labelled, protocol tiny" in first.stdout
    assert (
        "Protocol tiny with iterations=2. The card of tiny, without these settings, says: For tests alone"
        in first.stdout
    )
    cases = {
        method: [pd.read_csv(cases_file(path)) for path in sorted(Path("results/runs/kvasir", method).iterdir())]
        for method in ("supervised", "mt", "ucmt")
    }
    expected = {}
    for method, scored in (("supervised", "network"), ("mt", "teacher"), ("ucmt", "teacher")):
        means = [100 * frame[frame["network"] == scored]["dsc"].mean() for frame in cases[method]]
        expected[method] = f"{np.mean(means):.2f} ± {np.std(means, ddof=1):.2f}"
        assert expected[method] in first.stdout

    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    assert out.count("finished earlier") == 6
    assert out[out.index("kvasir, 2 of 8") :] == first.stdout[first.stdout.index("kvasir, 2 of 8") :]

    code, out, _ = call("status")
    assert code == 0
    assert "6 runs" in out
    assert out.count("finished") == 6
    assert out.count(" 2/2 ") == 4
    assert out.count(" 1/1 ") == 2  # UCMT has half the iterations

    report = [
        "report",
        "--table",
        "4",
        "--dataset",
        "kvasir",
        "--labeled",
        "2",
        "--protocol",
        "tiny",
        "--iterations",
        "2",
    ]
    code, out, _ = call(*report, "--format", "csv")
    assert code == 0
    rows = {row["Method"]: row for row in csv.DictReader(io.StringIO(out))}
    assert {title: rows[title]["DSC [%]"] for title in ("Supervised", "MT", "UCMT")} == {
        "Supervised": expected["supervised"], "MT": expected["mt"], "UCMT": expected["ucmt"],
    }  # fmt: skip
    assert [rows[title]["DSC [%]"] for title in ("CPS", "CMTv1", "CMTv2", "CMTv3")] == ["no run"] * 4
    assert not any("published" in name for name in rows["MT"])
    code, out, _ = call(*report, "--all-networks")
    assert "its student1" in out
    assert (
        "ssl-bench run --methods cps,cmtv1,cmtv2,cmtv3 --dataset kvasir --labeled 2 --protocol tiny --seeds 1,2 "
        "--set iterations=2"
    ) in out


def test_a_mistake_is_one_line_for_the_shell_too(cli: CommandLine, tmp_path: Path) -> None:
    ended = cli(*run_arguments(tmp_path / "nowhere"))
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [f"error: --data-root: no folder at {tmp_path / 'nowhere'}"]
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_leaves_exit_code_1_and_the_others(data: Path, call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "nan.py").write_text("""
import torch
from ssl_bench.method import SSLMethod, Update, register


@register
class Nan(SSLMethod):
    name, title, reference, uses_unlabeled = "nan", "NaN", "nobody", False

    def __init__(self, setup, hyper):
        super().__init__(setup, hyper)
        self.network = self.new_student()

    def updates(self, batch, progress):
        scale = torch.nan if progress.iteration == 3 else 1
        yield Update({"mine": (1.0, scale * self.network(batch.labeled.student1).square().mean())})

    @property
    def predictor(self):
        return self.network
""")
    arguments = run_arguments(data, methods="nan,supervised", methods_dir=str(folder), set="iterations=4")
    code, out, err = call(*arguments)
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith("failed: nan · kvasir 2/8 · tiny · seed 1: ")
    assert "iteration 3" in line
    assert "mine1 = nan" in line
    assert "│ Supervised " in out
    assert "│ NaN " not in out
    code, out, _ = call("status")
    assert "failed" in out
    assert "mine1 = nan" in out
    code, out, _ = call("methods", "--methods-dir", folder)
    assert f"{len(METHODS) + 1} methods" in out


# ----------------------------------------------------------------------------------------------------- what there is


def test_methods_are_listed_with_their_hyperparameters_and_papers(call: Call) -> None:
    code, out, err = call("methods")
    assert (code, err) == (0, "")
    listed = [line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│") and line[2] != " "]
    assert sorted(listed) == METHODS
    titles = [line.partition(":")[0].strip().lower() for line in out.splitlines() if line[:1].isupper()]
    assert titles == [group for group in get_args(Group) if group in titles]
    assert "k = 2" in out
    code, out, err = call("methods", "--methods", "ucmt,mt")
    assert (code, err) == (0, "")
    assert "regions replaced per uncertainty map" in out
    assert "Tarvainen and Valpola" in out
    assert "as the UCMT paper re-implements it: L_mts is a Dice loss on hard labels." in out
    assert "cct" not in out


def test_the_page_of_methods_is_what_the_command_prints(call: Call) -> None:
    code, out, err = call("methods", "--markdown")
    assert (code, err) == (0, "")
    page = (REPOSITORY / "docs" / "methods.md").read_text()
    introduction = page[: page.index("\n## ") + 1]
    assert page == introduction + out, "ssl-bench methods --markdown replaces all below the introduction"
    assert introduction.startswith("# Methods\n")
    for other in ("--costs", "--methods"):
        answer = call("methods", "--markdown", other, *(["mt"] if other == "--methods" else []))
        assert_refused(answer, "--markdown", other)


def test_datasets_and_protocols_are_listed(call: Call) -> None:
    code, out, err = call("benchmarks")
    assert (code, err) == (0, "")
    assert all(f"│ {name} " in out for name in [*card_names("datasets"), *card_names("protocols")])


@pytest.mark.parametrize(
    ("card", "lines"),
    [
        ("mini", ["name = 'mini'", "image_size = 128", "student_init = 'different'", "ema_decay = 0.99"]),
        ("isic", ["name = 'isic'", "cases = 2594", "title = 'ISIC 2018 Task 1'"]),
    ],
)
def test_a_card_is_printed_with_what_it_inherits(card: str, lines: list[str], call: Call) -> None:
    code, out, _ = call("benchmarks", card)
    assert code == 0
    assert set(lines) <= set(out.splitlines())


@pytest.mark.parametrize(("kind", "first"), [("datasets", "# data set"), ("protocols", "# protocol, 2D")])
def test_a_card_of_ones_own_is_printed_whichever_it_is(kind: str, first: str, call: Call, tmp_path: Path) -> None:
    name = {"datasets": "kvasir", "protocols": "mini"}[kind]
    own = tmp_path / "own.toml"
    own.write_text((BENCHMARKS_DIR / kind / f"{name}.toml").read_text())
    code, out, err = call("benchmarks", str(own))
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == first
    assert out == call("benchmarks", name)[1]


def test_a_mistyped_key_is_named_as_one_of_its_own_card(call: Call, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text((BENCHMARKS_DIR / "datasets" / "kvasir.toml").read_text().replace("classes", "clases"))
    code, _, err = call("benchmarks", str(own))
    assert (code, err.splitlines()) == (
        2,
        [f"error: {own}: clases: unknown key; did you mean classes?", f"error: {own}: classes: missing"],
    )


def test_an_empty_store_has_no_runs(call: Call) -> None:
    code, out, err = call("status")
    assert (code, err) == (0, "")
    assert "0 runs" in out
    assert not Path("results").exists()


# ------------------------------------------------------------------------------------------------------------ Table 4


def test_table_4_has_the_published_numbers_and_the_command_that_fills_it(call: Call) -> None:
    code, out, err = call("report", "--table", "4")
    assert (code, err) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert {row[0]: row[-4] for row in rows if row[0] in TABLE_4} == TABLE_4
    assert {row[-3] for row in rows if row[0] in TABLE_4} == {"no run"}
    command = (
        "ssl-bench run --methods supervised,mt,cps,cmtv1,cmtv2,cmtv3,ucmt --dataset isic --labeled 5% --protocol paper "
        "--seeds 1,2,3"
    )
    assert f"`{command}`" in out
    assert not Path("results").exists()


def test_the_check_marks_of_table_4_are_the_papers(call: Call) -> None:
    _, out, _ = call("report", "--table", "4", "--format", "csv")
    marks = {
        "Supervised": [], "MT": ["TS", "L_mts"], "CPS": ["SS", "L_cps"], "CMTv1": ["STS", "L_mts"],
        "CMTv2": ["STS", "L_cps"], "CMTv3": ["STS", "L_cps", "L_mts"], "UCMT": ["STS", "L_cps", "L_mts", "U"],
    }  # fmt: skip
    found = {row["Method"]: row for row in csv.DictReader(io.StringIO(out))}
    columns = ["TS", "SS", "STS", "L_cps", "L_mts", "U"]
    assert {method: [c for c in columns if row[c] == "✓"] for method, row in found.items()} == marks


def test_table_4_in_markdown_latex_and_csv_says_the_same(call: Call) -> None:
    formats = {name: call("report", "--table", "4", "--format", name)[1] for name in ("markdown", "latex", "csv")}
    expected = [[title, number] for title, number in TABLE_4.items()]
    markdown = [line.strip("|").split("|") for line in formats["markdown"].splitlines() if line.startswith("| ")]
    assert [[row[0].strip(), row[-4].strip()] for row in markdown[2:]] == expected
    assert {len(row) for row in markdown} == {11}
    latex = [line.removesuffix(r" \\").split(" & ") for line in formats["latex"].splitlines() if line.endswith(r"\\")]
    assert [[row[0], row[-4]] for row in latex[1:]] == expected
    assert {len(row) for row in latex} == {11}
    rows = list(csv.reader(io.StringIO(formats["csv"])))
    assert [[row[0], row[-4]] for row in rows[1:]] == expected


@pytest.mark.parametrize("labeled", ["10%", "90"])
def test_table_4_of_another_share_has_no_published_number(labeled: str, call: Call) -> None:
    _, out, _ = call("report", "--table", "4", "--labeled", labeled, "--format", "csv")
    assert "published" not in out
    assert "no run" in out


def test_another_datasets_table_4_asks_for_that_datasets_runs(call: Call) -> None:
    _, out, _ = call("report", "--table", "4", "--dataset", "cvc", "--protocol", "mini", "--format", "markdown")
    assert "--dataset cvc --labeled 15% --protocol mini --seeds 1,2,3" in out
    assert "CVC-ClinicDB" in out


# ---------------------------------------------------------------------------------------------------------- bad input


def test_no_data_folder(call: Call, tmp_path: Path) -> None:
    assert_refused(call(*run_arguments(tmp_path / "nowhere")), "--data-root", str(tmp_path / "nowhere"))


def test_no_images_in_the_data_folder(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_refused(call(*run_arguments(tmp_path / "empty")), "--data-root", str(tmp_path / "empty/Kvasir-SEG/images"))


def test_no_data_root_at_all(call: Call) -> None:
    answer = call("run", "--methods", "mt", "--dataset", "kvasir", "--protocol", "tiny")
    assert_refused(answer, "--data-root", "SSL_BENCH_DATA")


def test_a_missing_mask(call: Call, data: Path) -> None:
    (data / "Kvasir-SEG/masks/c4.jpg").unlink()
    assert_refused(call(*run_arguments(data)), str(data / "Kvasir-SEG/images/c4.jpg"), "mask")


def test_a_truncated_image(call: Call, data: Path) -> None:
    path = data / "Kvasir-SEG/images/c4.jpg"
    path.write_bytes(path.read_bytes()[:300])
    assert_refused(call(*run_arguments(data)), str(path), "truncated")


def test_a_mask_of_another_size(call: Call, data: Path) -> None:
    path = data / "Kvasir-SEG/masks/c4.jpg"
    Image.new("L", (7, 9), 255).save(path)
    assert_refused(call(*run_arguments(data)), str(path), "7x9", "41x36")


def test_another_number_of_cases_than_published(call: Call, data: Path) -> None:
    arguments = [word for word in run_arguments(data) if word != "--allow-partial"]
    assert_refused(call(*arguments), str(data), "1000", "9", "--allow-partial")


def test_a_card_with_two_errors_reports_both(call: Call, data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "tiny"\nname = "mine"\nimage_sise = 64\nlearning_rate = -1.0\n')
    answer = call(*run_arguments(data, protocol="mine.toml"))
    assert_refused(answer, "mine.toml: image_sise: unknown key", "mine.toml: learning_rate", "-1.0", lines=2)


BAD_OPTIONS = {
    "an unknown method": ({"methods": "mt,nonsense"}, ["--methods", "'nonsense'", "`ssl-bench methods`"]),
    "no method": ({"methods": " , "}, ["--methods"]),
    "an unknown data set": ({"dataset": "nonsense"}, ["--dataset", "'nonsense'", "kvasir"]),
    "an unknown protocol": ({"protocol": "nonsense"}, ["--protocol", "'nonsense'", "mini"]),
    "a protocol file that is not there": ({"protocol": "mine.toml"}, ["mine.toml"]),
    "no labelled image": ({"labeled": "0"}, ["--labeled", "'0'"]),
    "a share that leaves none": ({"labeled": "1%"}, ["--labeled", "'1%'", "of 8", "12.5%"]),
    "more labelled images than there are": ({"labeled": "9"}, ["--labeled", "8", "9"]),
    "a share that is none": ({"labeled": "some"}, ["--labeled", "'some'"]),
    "a negative share": ({"labeled": "-5%"}, ["--labeled", "'-5%'"]),
    "weights that are not there": ({"set": "encoder_weights=/no/such.pth"}, ["encoder_weights", "/no/such.pth"]),
    "an unknown source of weights": ({"set": "encoder_weights=imagnet"}, ["encoder_weights", "'imagnet'"]),
    "an unknown encoder": ({"set": "encoder=resnet99"}, ["encoder", "resnet99"]),
    "an unknown setting": ({"set": "learning_rat=1"}, ["--set learning_rat"]),
    "a setting without a value": ({"set": "nonsense"}, ["--set", "'nonsense'"]),
    "a setting of a wrong type": ({"set": "image_size=big"}, ["--set", "image_size", "'big'"]),
    "an unknown network": ({"set": "network=vnet"}, ["--set", "network", "'vnet'"]),
    "another method's hyperparameter": ({"set": "k=3"}, ["--set k"]),
    "an image size that does not fit": ({"set": "image_size=30"}, ["image_size 30"]),
    "an unknown split": ({"set": "split=by-sequence"}, ["split", "by-sequence", "random"]),
    "seeds that are no numbers": ({"seeds": "x"}, ["--seeds", "'x'"]),
    "seeds of another alphabet": ({"seeds": "²"}, ["--seeds", "'²'"]),
    "a negative seed": ({"seeds": "-1"}, ["--seeds", "'-1'"]),
    "no seeds": ({"seeds": ","}, ["--seeds"]),
    "an unknown device": ({"device": "nonsense"}, ["--device", "'nonsense'"]),
    "a device without data": ({"device": "meta"}, ["--device", "'meta'"]),
    "a methods folder that is not there": ({"methods_dir": "nowhere"}, ["--methods-dir", "nowhere"]),
}


@pytest.mark.parametrize("what", BAD_OPTIONS)
def test_a_bad_option_is_named_with_what_was_expected(what: str, call: Call, data: Path) -> None:
    changes, words = BAD_OPTIONS[what]
    assert_refused(call(*run_arguments(data, **changes)), *words)


def test_a_device_that_is_not_there(call: Call, data: Path) -> None:
    assert_refused(call(*run_arguments(data, device="cuda:99")), "--device", "'cuda:99'")


def test_a_results_root_that_cannot_be_written(call: Call, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_refused(call(*run_arguments(data, results_root="file")), "--results-root", "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_method_file_that_cannot_be_imported(call: Call, data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/broken.py").write_text("import nonsense_of_mine\n")
    answer = call(*run_arguments(data, methods_dir="mine"))
    assert_refused(answer, str(tmp_path / "mine/broken.py"), "nonsense_of_mine")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "--table", "99"], ["--table", "4", "99"]),
        (["report", "--table", "4", "--format", "pdf"], ["--format", "'pdf'", "markdown"]),
        (["report", "--table", "4", "--dataset", "nonsense"], ["--dataset", "'nonsense'"]),
        (["report", "--table", "4", "--protocol", "nonsense"], ["--protocol", "'nonsense'"]),
        (["report", "--table", "4", "--labeled", "lots"], ["--labeled", "'lots'"]),
        (["report", "--table", "4", "--set", "nonsense=1"], ["--set nonsense"]),
        (["report", "--table", "4", "--set", "k=1", "--set", "k=2"], ["--set k: expected one value, found 1 and 2"]),
        (["report", "--table", "4", "--iterations", "1", "--set", "iterations=3"], ["--set iterations", "3 and 1"]),
        (["benchmarks", "nonsense"], ["benchmarks: expected one of", "kvasir", "mini", "'nonsense'"]),
        (["report", "--table", "4", "--results-root", "nowhere"], ["--results-root: no folder at nowhere"]),
        (["report", "--table", "4", "--data", "abc"], ["--data abc: there are no runs to choose from yet"]),
        (["status", "--results-root", "nowhere"], ["--results-root: no folder at nowhere"]),
        (["results", "export", "x.zip", "--results-root", "nowhere"], ["--results-root: no folder at nowhere"]),
        (["sweep", "--method", "ucmt", "--dataset", "demo", "--sampler", "x"], ["--sampler: expected grid", "'x'"]),
        (["data", "check", "nonsense"], ["--dataset", "'nonsense'"]),
        (["data", "check", "kvasir"], ["--data-root"]),
        (["data", "prepare", "kvasir", "--data-root", "nowhere"], ["--data-root", "nowhere"]),
    ],
    ids=" ".join,
)
def test_mistakes_in_other_commands(arguments: list[str], words: list[str], call: Call) -> None:
    assert_refused(call(*arguments), *words)


@pytest.mark.parametrize("arguments", [["run", "--nonsense"], ["nonsense"], ["report", "--table", "x"]], ids=" ".join)
def test_what_the_parser_refuses(arguments: list[str], call: Call) -> None:
    code, _, err = call(*arguments)
    assert code == 2
    assert arguments[-2 if len(arguments) == 3 else -1] in err


# --------------------------------------------------------------------------------------------------------------- data


def test_data_is_checked_and_prepared(call: Call, data: Path) -> None:
    for part in ("images", "masks"):
        first, second, *_ = sorted(data.rglob(f"{part}/*"))
        second.write_bytes(first.read_bytes())
    code, out, _ = call("data", "check", "kvasir", "--data-root", data)
    assert code == 2  # nine of a thousand
    assert "error: count: expected 1000 cases, found 9" in out
    assert out.splitlines()[-1] == "1 error, 1 warning (count: 1, duplicate: 1)"
    code, out, err = call(
        "data",
        "prepare",
        "kvasir",
        "--protocol",
        "tiny",
        "--data-root",
        data,
        "--allow-partial",
        "--set",
        "augment_size=40",
    )
    assert (code, err) == (0, "")
    assert "9 cases at 40x40" in out
    assert Path(out.split(": ")[-1].strip()).is_file()


# ------------------------------------------------------------------------------------------------------------ output


def test_the_version_is_printed(call: Call) -> None:
    assert call("--version") == (0, f"ssl-bench {__version__}\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_output_that_cannot_be_written_is_one_line_and_no_success() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "ssl_bench", "methods"], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (1, "error: the output cannot be written: No space left on device\n")


def test_a_terminal_that_lacks_a_sign_is_no_error() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ssl_bench", "benchmarks", "kvasir"], capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.isascii()


# ------------------------------------------------------------------------------------------------------ batch of one


@pytest.mark.parametrize("key", [pytest.param("labeled_batch", marks=pytest.mark.slow), "unlabeled_batch"])
def test_a_batch_of_one_that_batch_norm_cannot_take_is_refused_at_planning(key: str, call: Call) -> None:
    words = ["run", "--methods", "mt", "--dataset", "demo", "--protocol", "tiny", "--device", "cpu"]
    code, _, err = call(*words, "--set", f"{key}=1")
    assert (code, err.count("\n")) == (2, 1)
    assert "expected at least 2 for network = 'deeplabv3plus', whose batch norm cannot train on one image" in err
    assert call(*words, "--set", f"{key}=1", "--set", "network=unet-small", "--iterations", "2")[0] == 0
