"""`ssl-bench watch`: the runs of a store on a terminal, refreshed in place."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ssl_bench.command import quantity
from ssl_bench.live.snapshot import LiveRun, Snapshot, State, StoreReader, said

NARROW = 110  # columns; on fewer, a run has two lines
MOST = 40  # runs that a snapshot lists where no terminal limits them
STYLES: dict[State, str] = {
    "running": "green", "waiting": "cyan", "interrupted": "yellow", "failed": "red", "damaged": "red",
    "finished": "dim",
}  # fmt: skip
BLOCKS, LETTERS = "▁▂▃▄▅▆▇█", "_.-=*#"


class Screen:
    """A snapshot as it is printed, at any width.

    Args:
        reader: gives curves.
        snapshot: the runs.
        rows: lines that it may take; None: MOST runs.

    """

    def __init__(self, reader: StoreReader, snapshot: Snapshot, rows: int | None) -> None:
        self.reader, self.snapshot, self.rows = reader, snapshot, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Sequence[RenderableType]:
        """Lay the runs out in a table, or in two lines each."""
        is_narrow = options.max_width < NARROW
        counts = ", ".join(f"{count} {state}" for state, count in self.snapshot.counts.items())
        head = Text(
            f"{self.reader.root}: {counts or self.reader.absence()}", style="bold", no_wrap=True, overflow="ellipsis"
        )
        room = None if self.rows is None else (self.rows - 2) // 2 if is_narrow else self.rows - 3
        most = MOST if room is None else max(room, 1)
        shown = self.snapshot.runs[:most]
        left_out = len(self.snapshot.runs) - len(shown)
        foot = [Text(f"and {quantity(left_out, 'more run')}", style="dim")] * bool(left_out)
        blocks = LETTERS if options.ascii_only else BLOCKS
        body = self._lines(shown, blocks, options.max_width) if is_narrow else self._table(shown, blocks)
        return [Group(head, body, *foot)]

    def _table(self, runs: Sequence[LiveRun], blocks: str) -> RenderableType:
        table = Table(box=None, padding=(0, 1, 0, 0), expand=True, header_style="bold")
        for name, ratio, justify in (
            ("State", None, "left"), ("Data set", 2, "left"), ("Labelled", None, "right"), ("Method", 2, "left"),
            ("Seed", 1, "left"), ("Done", None, "right"), ("Speed", None, "right"), ("Left", None, "right"),
            ("Curve", None, "left"), ("Remark", 5, "left"),
        ):  # fmt: skip
            table.add_column(name, ratio=ratio, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
        for run in runs:
            table.add_row(
                _state(run), Text(run.benchmark), Text(run.labeled), Text(run.method or run.id), Text(run.seed),
                Text(_done(run)), Text(speed_text(run.speed)), Text(seconds_text(run.seconds_left)),
                self._curve(run, blocks, 16), Text(_remark(run)),
            )  # fmt: skip
        return table

    def _lines(self, runs: Sequence[LiveRun], blocks: str, width: int) -> RenderableType:
        lines = []
        for run in runs:
            words = (run.method, run.benchmark, run.labeled, f"seed {run.seed}" if run.seed else "")
            where = " ".join(word for word in words if word)
            first = Text.assemble(_state(run), " ", where or run.id)
            done = Text(_done(run))
            first.truncate(max(width - done.cell_len - 1, 1), overflow="ellipsis", pad=True)
            times = " ".join(filter(None, (speed_text(run.speed), seconds_text(run.seconds_left))))
            parts = [part for part in (self._curve(run, blocks, 12), Text(times), Text(_remark(run))) if part.plain]
            second = Text("  ") + Text(" ").join(parts)
            second.truncate(width, overflow="ellipsis")
            lines += [first + Text(" ") + done, second]
        return Group(*(_unbroken(line) for line in lines))

    def _curve(self, run: LiveRun, blocks: str, most: int) -> Text:
        _, values = self.reader.curve(run) if run.path != self.reader.root else ("", [])
        return Text(sparkline(values, blocks, most))


def watch(reader: StoreReader, console: Console, every: float, *, once: bool) -> None:
    """Show the runs of a store, and again every some seconds, until Ctrl-C.

    Without a terminal one snapshot is printed.
    """
    if once or not console.is_terminal:
        console.print(Screen(reader, reader.snapshot(), None))
        return
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(Screen(reader, reader.snapshot(), console.size.height), refresh=True)
                time.sleep(every)
    except KeyboardInterrupt:
        return


def sparkline(values: Sequence[float], blocks: str = BLOCKS, most: int = 16) -> str:
    """Draw values as a line of blocks, the lowest value as the lowest block."""
    from ssl_bench.live.curve_files import shortened

    shown = shortened(list(values), most)
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((value - low) * scale)] for value in shown)


def speed_text(speed: float | None) -> str:
    """Iterations per second, or seconds per iteration where they are slow."""
    if not speed:
        return ""
    return f"{speed:.1f} it/s" if speed >= 1 else f"{1 / speed:.1f} s/it"


def seconds_text(seconds: float | None) -> str:
    """A duration in its two largest units: "2d 3h", "1h 05m", "4m 10s"."""
    if seconds is None:
        return ""
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days}d {hours % 24}h"
    if hours:
        return f"{hours}h {minutes % 60:02}m"
    return f"{minutes}m {whole % 60:02}s" if minutes else f"{whole}s"


def _state(run: LiveRun) -> Text:
    return Text(run.state, style=STYLES[run.state])


def _done(run: LiveRun) -> str:
    if run.state == "finished" and run.headline is not None:
        from ssl_bench.cards import HEADLINE, METRICS

        return f"{METRICS[HEADLINE].title} {run.headline * METRICS[HEADLINE].scale:.2f}"
    if not run.total:
        return ""
    task = "" if run.task == "training" else f"{run.task} "
    return f"{task}{run.done}/{run.total} {run.share:4.0%}"


def _remark(run: LiveRun) -> str:
    return f"{run.protocol} {run.id}" if run.state == "finished" else said(run)


def _unbroken(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ellipsis"
    return line
