"""The measured tables as pages, from the stored runs, by the code of `ssl-bench report`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ssl_bench
from site_pages.markdown import page
from ssl_bench.reporting.canvas import render
from ssl_bench.reporting.claims import ClaimsReport
from ssl_bench.reporting.publish import FIRST
from ssl_bench.reporting.tables import TableReport
from ssl_bench.store import Run

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Measured:
    """A table or figure of a store, with the arguments of `ssl_bench.report`."""

    slug: str
    title: str
    about: str
    store: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The command that prints the same table."""
        words = ["ssl-bench", "report"]
        for key, value in self.arguments.items():
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{key.replace('_', '-')}"] + ([] if value is True else [text])
        statistics = ["--statistics"] if {"table", "methods"} & set(self.arguments) else []
        return shlex.join([*words, *statistics, "--results-root", self.store])

    def report(self) -> Any:
        """The report; paths in the arguments are below the repository's root."""
        arguments = {
            key: str(ROOT / value) if str(value).endswith(".toml") else value for key, value in self.arguments.items()
        }
        return ssl_bench.report(**arguments, results_root=ROOT / self.store)


STUDIES = "benchmarks/studies"


FIVE = {"seeds": (1, 2, 3, 4, 5)}  # of tables at `small` some of whose rows have ten


def study(slug: str, title: str, about: str, card: str, **more: Any) -> Measured:
    """The page of a study, from results/measured; `card` is its name without suffix."""
    arguments = {"table": f"{STUDIES}/{card}.toml", "all_networks": True, **more}
    return Measured(slug, title, about, "results/measured", arguments)


PAGES = (
    Measured(
        "small-isic", "Skin lesions at `small`: ISIC 2018, nine labels",
        "The paper's ablation (Table 4) at the protocol at which methods can be told apart.",
        "results/measured", {"table": 4, "protocol": "small", "all_networks": True},
    ),
    Measured(
        "small-isic-twice", "Skin lesions at `small`: ISIC 2018, 18 labels",
        "The paper's ablation (Table 4) with twice the labels.",
        "results/measured", {"table": 4, "labeled": "1%", "protocol": "small", "all_networks": True},
    ),
    study(
        "small-gains", "Gains at `small`: ISIC, Kvasir-SEG, CVC-ClinicDB at random and by video, ACDC",
        "Which methods gain on the supervised network, on four data sets.",
        "small", **FIVE,
    ),
    Measured(
        "small-cvc", "Polyps at `small`: CVC-ClinicDB at random",
        "The methods of the paper's ablation (Table 4). Four are shown to gain on the supervised network.",
        "results/measured",
        {"table": 4, "dataset": "cvc", "labeled": "3.75%", "protocol": "small", "all_networks": True},
    ),
    Measured(
        "small-polyps-twice", "Polyps at `small`, twice the labels",
        "Kvasir-SEG with 60 labelled images, CVC-ClinicDB split at random with 36.",
        "results/measured",
        {"methods": ("supervised", "mt", "cps", "cmtv3", "ucmt"), "dataset": ("kvasir", "cvc"), "labeled": "7.5%",
         "protocol": "small", "all_networks": True, **FIVE},
    ),
    study(
        "small-others", "Other methods at `small`: ISIC and CVC-ClinicDB at random",
        "ICT, MT + CutMix, UA-MT, CCT and UGCL beside MT.",
        "others", **FIVE,
    ),
    study(
        "small-adversarial", "Adversarial methods at `small`",
        "AdvSemSeg and ColAdv beside MT, on ISIC, Kvasir-SEG and CVC-ClinicDB at random.",
        "adversarial", **FIVE,
    ),
    study(
        "small-averaging", "Averaged weights alone at `small`",
        "MT without its loss beside the methods: what their gains are worth beyond a running average of weights.",
        "averaging",
    ),
    study(
        "small-averaging-others", "Averaged weights alone at `small`, other data",
        "The same on CVC-ClinicDB by video, Kvasir-SEG, ACDC and LA.",
        "averaging-others", **FIVE,
    ),
    Measured(
        "small-atria", "Left atria at `small`",
        "MT, CPS, CMTv3 and UCMT with three and with six labelled scans, DTC with three.",
        "results/measured",
        {"methods": ("supervised", "mt", "cps", "cmtv3", "ucmt", "dtc"), "dataset": "la", "labeled": ("10%", "20%"),
         "protocol": "small", "all_networks": True},
    ),
    study(
        "small-parts", "UCMT's second step at `small`",
        "UCMT without one of the parts of its second step, with nine and with 18 labelled images of ISIC.",
        "ucmt-parts", **FIVE,
    ),
    study(
        "small-parts-polyps", "UCMT's second step at `small`: polyps",
        "UCMT without one of the parts of its second step on Kvasir-SEG and on CVC-ClinicDB split at random.",
        "ucmt-parts-polyps", **FIVE,
    ),
    study(
        "small-guidance", "What chooses UMIX's regions at `small`",
        "UMIX by uncertainty, UMIX of random regions, and CutMix, with nine and with 18 labelled images of ISIC.",
        "umix-guidance",
    ),
    Measured(
        "small-regions", "Regions of UMIX at `small`",
        "The paper's Table 5: how many regions UMIX replaces (k), and how large they are (1/r).",
        "results/measured", {"table": 5, "protocol": "small", "seeds": (1, 2, 3)},
    ),
    Measured(
        "small-shares", "Numbers of labels at `small`: UMIX against CutMix",
        "The supervised network and UCMT with UMIX or CutMix, with 3, 9, 18 and 36 labelled images of ISIC.",
        "results/measured",
        {"methods": ("supervised", "ucmt", "ucmt-cutmix"), "dataset": "isic",
         "labeled": ("0.2%", "0.5%", "1%", "2%"), "protocol": "small", "all_networks": True, **FIVE},
    ),
    study(
        "small-ucmt-protocol", "UCMT at `small`: the paper against its code",
        "Each row changes one choice of the protocol, with 18 labelled images of ISIC.",
        "ucmt-protocol-small", **FIVE,
    ),
    study(
        "small-ucmt-teacher", "UCMT at `small`: the source of its teacher",
        "A teacher that averages students with different starts, or with one start.",
        "ucmt-teacher-small", **FIVE,
    ),
    study(
        "small-mt-protocol", "MT at `small`: the UCMT paper against its code",
        "Each row changes one choice of the protocol. Only a decay of 0.999 is shown to matter.",
        "mt-protocol-small", **FIVE,
    ),
    study(
        "small-cps-protocol", "CPS at `small`: the UCMT paper against its code",
        "Each row changes one choice of the protocol. None is shown to matter.",
        "cps-protocol-small", **FIVE,
    ),
    Measured(
        "claims", "The UCMT paper's claims at `small`",
        "Each claim of the paper held against the runs: supported, contradicted, not shown or not measured.",
        "results/measured", {"claims": "ucmt", "protocol": "small"},
    ),
    study(
        "polyps", "Polyps: Kvasir-SEG and CVC-ClinicDB",
        "Six methods with 15 % of the labels. None is shown to differ from the supervised network.",
        "polyps",
    ),
    Measured(
        "isic", "Skin lesions at `mini`: ISIC 2018",
        "The paper's ablation (Table 4) with 5 % of the labels. None is shown to differ from the supervised network.",
        "results/measured",
        {"table": 4, "dataset": "isic", "labeled": "5%", "protocol": "mini", "all_networks": True},
    ),
    study(
        "ucmt-protocol", "UCMT: the paper against its code",
        "Each row changes one field of the protocol. Only a teacher that averages students of different starts fails.",
        "ucmt-protocol",
    ),
    study(
        "cct-weight", "CCT: the weight of its loss",
        "CCT with the common weight, and with its authors' weight.",
        "cct-weight",
    ),
    Measured(
        "polyps-intel", "Polyps on another CPU",
        "The same runs of Kvasir-SEG, trained on another CPU. Only rounding differs.",
        "results/measured-intel", {"table": f"{STUDIES}/polyps.toml", "all_networks": True},
    ),
    Measured(
        "figure-3-small", "UMIX against CutMix at `small`",
        "The paper's Figure 3 from the runs of ISIC, with 3 to 36 labelled images.",
        "results/measured", {"figure": 3, "dataset": "isic", "protocol": "small", **FIVE},
    ),
    Measured(
        "figure-1-small", "Uncertainty during training at `small`",
        "The paper's Figure 1 from the runs of ISIC.",
        "results/measured", {"figure": 1, "protocol": "small"},
    ),
    Measured(
        "figure-1", "Uncertainty during training at `mini`",
        "The paper's Figure 1 from the runs of Kvasir-SEG.",
        "results/measured", {"figure": 1, "dataset": "kvasir", "labeled": "15%", "protocol": "mini"},
    ),
)  # fmt: skip


@dataclass(frozen=True)
class MeasuredPage:
    """A page, the pictures beside it by file name, and the runs that it shows."""

    text: str
    pictures: dict[str, bytes]
    runs: tuple[Run, ...]


def measured_page(one: Measured) -> MeasuredPage:
    """Make a page: the command, the pictures of the differences, the tables, the statistics."""
    lines, pictures, runs = [one.about, "", "```", one.command, "```", ""], dict[str, bytes](), list[Run]()
    for exhibit in one.report().exhibits:
        runs += exhibit.runs
        if isinstance(exhibit, TableReport):
            for table in exhibit.tables:
                lines += _section(table)
            for picture in (each for each in exhibit.figures if each.kind == FIRST):
                pictures[f"{one.slug}-{picture.name}.svg"] = render(picture.figure, "svg")
                lines += [f"![{picture.title}]({one.slug}-{picture.name}.svg)", "", *_notes(picture.caption), ""]
            for table in exhibit.statistics_tables:
                lines += _section(table)
        elif isinstance(exhibit, ClaimsReport):
            lines += [exhibit.finding, ""]
            for picture in exhibit.figures:
                pictures[f"{one.slug}-{picture.name}.svg"] = render(picture.figure, "svg")
                lines += [f"![{picture.title}]({one.slug}-{picture.name}.svg)", "", *_notes(picture.caption), ""]
            for table in exhibit.tables:
                lines += _section(table)
        else:
            pictures[f"{one.slug}.svg"] = render(exhibit.figure, "svg")
            lines += [f"![{one.title}]({one.slug}.svg)", "", *_notes(exhibit.notes), ""]
    return MeasuredPage(page(one.title, lines), pictures, tuple(runs))


def measured_index() -> str:
    """Return the page that lists the others."""
    about = (
        "These pages are made from the runs in `results/measured` and `results/measured-intel` whenever the site is "
        "built. `ssl-bench report` prints the same tables. [Measured so far](../measured.md) discusses them."
    )
    lines = [about, ""]
    lines += [f"- [{one.title}]({one.slug}.md): {one.about}" for one in PAGES]
    return page("Measured tables", lines)


def _section(table: Any) -> list[str]:
    """A table under a heading of its own; its notes are folded away."""
    body, _, notes = table.markdown().partition("\n\n")[2].partition("\n\n")
    lines = [f"## {table.title}", "", body, ""]
    if table.notes:
        lines += [
            f'??? note "Notes ({len(table.notes)})"',
            "",
            *(f"    {line}" for line in notes.replace("*", r"\*").splitlines()),
            "",
        ]
    return lines


def _notes(notes: Any) -> list[str]:
    return [notes] if isinstance(notes, str) else [f"- {note}" for note in notes]
