"""What the harness costs, as ratios taken side by side in one process."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import drawing
import iteration
import memory
import mixing
import networks
import peer
import reading
import runs
import startup
import steps
import torch
import volumes
from rich.console import Console
from rich.table import Table
from timing import Ratio, Settings

from ssl_bench.cards import parse_setting
from ssl_bench.method import load_methods
from ssl_bench.training.device import bf16_gradients_are_right, choose_device

SECTIONS = {
    "iteration": iteration.ratios,
    "drawing": drawing.ratios,
    "mixing": mixing.ratios,
    "volumes": volumes.ratios,
    "steps": steps.ratios,
    "start-up": startup.ratios,
    "runs": runs.ratios,
    "memory": memory.ratios,
    "reading": reading.ratios,
    "peer": peer.ratios,
    "networks": networks.ratios,
    "compile": networks.compiled,
}


def main() -> int:
    """Print a line per ratio as it comes, then all of them; exit 1 where a target is missed."""
    arguments = parsed()
    device = choose_device(arguments.device)
    settings = Settings(
        device=device,
        repeats=arguments.repeats,
        methods=tuple(arguments.methods.split(",")) if arguments.methods else tuple(load_methods()),
        protocol=arguments.protocol,
        precisions=precisions(arguments.precision, device),
        dimensions=tuple(map(int, arguments.dimensions.split(","))),
        overrides=dict(map(parse_setting, arguments.set)),
    )
    console, found = Console(width=160), list[Ratio]()
    console.print(f"torch {torch.__version__}, {settings.device.type}, {torch.get_num_threads()} threads")
    for name in arguments.sections.split(","):
        for ratio in SECTIONS[name](settings):
            found.append(ratio)
            console.print(" ".join(ratio.cells()), highlight=False, soft_wrap=True)
            if arguments.csv:
                write(arguments.csv, found)
    console.print(table(found))
    return int(any(ratio.met is False for ratio in found))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sections",
        default=",".join(name for name in SECTIONS if name != "compile"),
        help=f"some of {', '.join(SECTIONS)}",
    )
    parser.add_argument("--methods", default="", help="of the sections that have a line per method; all by default")
    parser.add_argument("--protocol", default="mini", help="whose networks and sides are timed")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE, a field of the protocol, of iterations")
    parser.add_argument("--dimensions", default="2,3", help="of iterations and their batches")
    parser.add_argument("--precision", default="", help="fp32,bf16; bf16 only where the processor has it, by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--csv", type=Path, help="also write the ratios to this file")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.sections.split(",") if name not in SECTIONS]
    if unknown:
        parser.error(f"--sections: expected some of {', '.join(SECTIONS)}; found {', '.join(unknown)}")
    if not set(arguments.dimensions.split(",")) <= {"2", "3"}:
        parser.error(f"--dimensions: expected 2, 3 or 2,3; found {arguments.dimensions}")
    return arguments


def precisions(asked: str, device: torch.device) -> tuple[str, ...]:
    """The precisions asked for; else those that the device computes right (emulated, bf16 takes ten times as long)."""
    if asked:
        return tuple(asked.split(","))
    has_half = device.type == "cuda" or (torch.ops.mkldnn._is_mkldnn_bf16_supported() and bf16_gradients_are_right())
    return ("fp32", "bf16") if has_half else ("fp32",)


def write(path: Path, found: list[Ratio]) -> None:
    """Write what is there so far."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Ratio.header())
        writer.writerows(ratio.cells() for ratio in found)


def table(found: list[Ratio]) -> Table:
    """Every ratio, for people."""
    result = Table("Section", "What", "Ours [ms]", "Compared with [ms]", "Ratio", "Quartiles", "Target", "Met")
    for ratio in found:
        result.add_row(
            ratio.section, ratio.what, f"{ratio.ours}: {ratio.ours_ms:.4g}", f"{ratio.other}: {ratio.other_ms:.4g}",
            f"{ratio.ratio:.2f}", f"{ratio.low:.2f} to {ratio.high:.2f}", ratio.target, ratio.cells()[-1],
        )  # fmt: skip
    return result
