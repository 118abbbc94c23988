"""Tables of what an iteration of each method needs, as `training/costs.py` predicts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ssl_bench.command import quantity
from ssl_bench.reporting.table import Cell, Table
from ssl_bench.training.costs import Cost, UnknownCostError, image_bytes, iteration_cost, job_cost

if TYPE_CHECKING:
    from ssl_bench.cards import Benchmark
    from ssl_bench.cards.protocol import ResolvedProtocol
    from ssl_bench.method import Hyperparameters, SSLMethod
    from ssl_bench.store import Store
    from ssl_bench.training.job import Job

NONE = "—"
HEADER = ["Updates", "Parameters [M]", "GFLOP", "Memory [GiB]"]
IMAGES = "Images [GiB]"
STATES = ["Finished", "Unfinished", "Missing"]
UNSCORED = "Finished, not scored"
MEANING = (
    "Of an iteration: its updates; GFLOP of its convolutions and matrix products, forward and backward; peak memory "
    "of its tensors (weights, gradients, optimiser, batch, activations). Parameters: of all networks."
)
LEFT_OUT = "A GPU needs more memory than this: CUDA's context, workspaces of convolutions, and fragmentation."


def methods_costs(
    methods: Mapping[type[SSLMethod], Hyperparameters],
    benchmark: Benchmark,
    protocol: ResolvedProtocol,
    remarks: Sequence[str] = (),
) -> Table:
    """Predict the costs of an iteration of each method; `remarks` stand below the table.

    Raises:
        UserError: a network cannot be built, or a method breaks its contract.
    """

    def cost_of(method: type[SSLMethod], hyper: Hyperparameters) -> Cost:
        channels, classes = benchmark.channel_count, len(benchmark.classes)
        return iteration_cost(method, hyper, protocol, channels=channels, classes=classes, ignores=benchmark.ignores)

    notes = list(remarks)
    rows = [
        [method.name, *_cells(lambda method=method, hyper=hyper: cost_of(method, hyper), notes)]  # type: ignore[misc]
        for method, hyper in methods.items()
    ]
    title = f"An iteration on {benchmark.title}, protocol {protocol.name}, {protocol.precision}"
    notes += [MEANING, f"{LEFT_OUT} The images of the data set are on it, too; `run --dry-run` counts them."]
    return Table(title, ["Method", *HEADER], rows, frozenset(HEADER), notes)


def dry_run_table(jobs: Sequence[Job], store: Store) -> Table:
    """Say which planned runs are finished, and predict what an iteration of each method needs.

    Raises:
        UserError: a method breaks its contract.
    """
    states = [_state(job, store) for job in jobs]
    shown = [*STATES, *([UNSCORED] if UNSCORED in states else [])]
    rows, notes = [], list[str]()
    for name in dict.fromkeys(job.method.name for job in jobs):
        own = [(job, state) for job, state in zip(jobs, states, strict=True) if job.method.name == name]
        counts = [sum(found == state for _, found in own) for state in shown]
        costs = _cells(lambda job=own[0][0]: job_cost(job), notes)  # type: ignore[misc]  # seeds do not change it
        images = max(image_bytes(job) for job, _ in own)
        rows.append([name, *(Cell(str(count), count) for count in counts), *costs, _gibibytes(images)])
    spec, numbers = jobs[0].spec, [*shown, *HEADER, IMAGES]
    title = (
        f"{quantity(len(jobs), 'run')} on {spec.benchmark}, protocol {spec.protocol.name}, {spec.protocol.precision}: "
        f"{', '.join(f'{states.count(state)} {state.lower()}' for state in shown)}"
    )
    notes += [
        MEANING,
        f"{LEFT_OUT} Images: those of training, in addition where the device holds them (SSL_BENCH_MEMORY).",
        "Nothing was trained.",
    ]
    return Table(title, ["Method", *numbers], rows, frozenset(numbers), notes)


def _cells(predict: Callable[[], Cost], notes: list[str]) -> list[str | Cell]:
    """The cells of a method's costs; without numbers, and with a note, where they cannot be predicted."""
    try:
        cost = predict()
    except UnknownCostError as error:
        notes.append(str(error))
        return [NONE] * len(HEADER)
    return [
        Cell(str(cost.updates), cost.updates),
        Cell(f"{cost.parameters / 1e6:.2f}", cost.parameters / 1e6),
        Cell(f"{cost.flops / 1e9:.1f}", cost.flops / 1e9),
        _gibibytes(cost.memory),
    ]


def _gibibytes(count: int) -> Cell:
    return Cell(f"{count / 2**30:.3f}", count / 2**30)


def _state(job: Job, store: Store) -> str:
    run = store.find(job.spec)
    if run is None:
        return "Missing"
    if run.status != "finished":
        return "Unfinished"
    return "Finished" if run.is_scored(job.measurement) else UNSCORED
