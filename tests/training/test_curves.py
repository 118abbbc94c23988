"""Rows of curves.csv against means computed by hand; Figure 1's disagreement and entropy on known predictions."""

import io
import math

import pytest
import torch
from torch import Tensor

from ssl_bench.method import Progress, Update
from ssl_bench.training.curves import Curves

SMOOTH = 1e-5


def term(value: float) -> tuple[float, Tensor]:
    return 1.0, torch.tensor(float(value), requires_grad=True)


def log(curves: Curves, iteration: int, *updates: Update, iterations: int = 10) -> None:
    row = curves.open_row(Progress(iteration, iterations, lambda_u=iteration / 100))
    for update in updates:
        row.add(update, update.total)
    curves.close_row(row)


def logits_of(labels: list[list[int]], classes: int = 2) -> Tensor:
    """Logits (1, K, H, W) whose largest class is given."""
    return 5.0 * torch.nn.functional.one_hot(torch.tensor([labels]), classes).movedim(-1, 1).float()


# -------------------------------------------------------------------------------------------------------------- rows


def test_a_row_is_the_mean_since_the_row_before() -> None:
    curves = Curves(every=3, smooth=SMOOTH)
    for iteration in range(1, 7):
        log(curves, iteration, Update({"supervised": term(iteration**2), "mts": (0.5, torch.tensor(1.0 + iteration))}))
    header, rows = curves.table()
    assert header == ["iteration", "lambda", "loss1", "supervised1", "mts1"]
    supervised, mts = [(1 + 4 + 9) / 3, (16 + 25 + 36) / 3], [(2 + 3 + 4) / 3, (5 + 6 + 7) / 3]
    for row, iteration, s, m in zip(rows, (3, 6), supervised, mts, strict=True):
        assert row == pytest.approx([iteration, iteration / 100, s + 0.5 * m, s, m])
        assert isinstance(row[0], int)


def test_the_last_row_covers_what_is_left() -> None:
    curves = Curves(every=4, smooth=SMOOTH)
    for iteration in range(1, 7):
        log(curves, iteration, Update({"supervised": term(float(iteration))}))
    assert len(curves.table()[1]) == 1
    curves.close()
    assert curves.table()[1] == [[4, 0.04, 2.5, 2.5], [6, 0.06, 5.5, 5.5]]
    curves.close()  # nothing is left to average
    assert len(curves.table()[1]) == 2


def test_each_update_of_an_iteration_has_its_columns() -> None:
    curves = Curves(every=1, smooth=SMOOTH)
    log(
        curves, 1, Update({"supervised": term(1.0)}), Update({"supervised": term(3.0), "cps": (0.0, torch.tensor(9.0))})
    )
    assert curves.table() == (
        ["iteration", "lambda", "loss1", "supervised1", "loss2", "supervised2", "cps2"],
        [[1, 0.01, 1.0, 1.0, 3.0, 3.0, 9.0]],
    )


def test_a_method_without_branches_has_no_disagreement() -> None:
    curves = Curves(every=1, smooth=SMOOTH)
    log(curves, 1, Update({"supervised": term(1.0)}))
    assert curves.table()[0] == ["iteration", "lambda", "loss1", "supervised1"]


def test_rows_keep_no_graph() -> None:
    curves = Curves(every=5, smooth=SMOOTH)
    row = curves.open_row(Progress(1, 10, 0.1))
    branches = (torch.randn(1, 2, 4, 4, requires_grad=True), torch.randn(1, 2, 4, 4, requires_grad=True))
    update = Update({"supervised": term(1.0)}, branches)
    row.add(update, update.total.detach())
    assert not any(value.requires_grad for value in row.values.values())


@pytest.mark.parametrize("first", [1, 2])
def test_terms_may_come_and_go_between_iterations(first: int) -> None:
    # Nothing in the method contract forbids a loss that begins after a warm-up, or ends.
    curves = Curves(every=1, smooth=SMOOTH)
    for iteration in (1, 2):
        extra = {"late": term(2.0)} if iteration == first else {}
        log(curves, iteration, Update({"supervised": term(1.0), **extra}))
    curves.close()
    assert "late1" in curves.table()[0]


# --------------------------------------------------------------------------------------------------------- not finite


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_named_with_its_iteration(value: float) -> None:
    curves = Curves(every=5, smooth=SMOOTH)
    for iteration in range(1, 5):
        bad = value if iteration == 3 else 1.0
        log(curves, iteration, Update({"supervised": term(1.0), "mts": (0.0, torch.tensor(bad))}))
    with pytest.raises(FloatingPointError) as caught:
        log(curves, 5, Update({"supervised": term(1.0), "mts": (0.0, torch.tensor(1.0))}))
    text = str(caught.value)
    assert "iteration 3" in text
    assert f"mts1 = {value}" in text
    assert "supervised1" not in text


def test_a_checkpoint_sees_a_value_that_is_not_finite_before_the_log_line() -> None:
    curves = Curves(every=100, smooth=SMOOTH)
    log(curves, 1, Update({"supervised": term(math.nan)}))
    with pytest.raises(FloatingPointError, match="iteration 1: loss1 = nan, supervised1 = nan"):
        curves.require_finite()


# --------------------------------------------------------------------------------------------------------- Figure 1


def diagnostics(first: Tensor, second: Tensor) -> dict[str, float]:
    row = Curves(every=1, smooth=SMOOTH).open_row(Progress(1, 1, 0.1))
    row.add(Update({"supervised": term(1.0)}, (first, second)), torch.tensor(1.0))
    return {name: float(row.values[name]) for name in ("disagreement", "entropy")}


def test_equal_branches_do_not_disagree() -> None:
    logits = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    assert diagnostics(logits, logits.clone())["disagreement"] == pytest.approx(0, abs=1e-6)
    assert diagnostics(logits, 3 * logits)["disagreement"] == pytest.approx(0, abs=1e-6)  # hard labels count


def test_opposite_branches_disagree_in_full() -> None:
    logits = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    assert diagnostics(logits, -logits)["disagreement"] == pytest.approx(1, abs=1e-4)


def test_disagreement_of_a_case_computed_by_hand() -> None:
    # Foreground: 2 and 1 pixels, 1 shared: Dice 2/3. Background: 2 and 3 pixels, 2 shared: Dice 4/5.
    first, second = logits_of([[1, 1], [0, 0]]), logits_of([[1, 0], [0, 0]])
    assert diagnostics(first, second)["disagreement"] == pytest.approx(1 - (2 / 3 + 4 / 5) / 2, abs=1e-5)


def test_entropy_of_uniform_predictions_is_ln_2() -> None:
    uniform = torch.full((2, 2, 4, 4), 0.7)
    assert diagnostics(uniform, uniform)["entropy"] == pytest.approx(math.log(2))


def test_entropy_is_the_mean_over_both_branches_and_all_pixels() -> None:
    uniform, sure = torch.zeros(1, 2, 2, 2), 100 * logits_of([[1, 0], [0, 1]])
    assert diagnostics(uniform, sure)["entropy"] == pytest.approx(math.log(2) / 2)
    quarter = torch.tensor([0.25, 0.75]).log().view(1, 2, 1, 1).expand(1, 2, 2, 2)
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert diagnostics(quarter, quarter)["entropy"] == pytest.approx(expected)


def test_branches_of_half_precision_are_read_in_single() -> None:
    uniform = torch.full((1, 2, 32, 32), 0.3, dtype=torch.bfloat16)
    assert diagnostics(uniform, uniform)["entropy"] == pytest.approx(math.log(2), abs=1e-6)


def test_diagnostics_are_those_of_the_first_update() -> None:
    row = Curves(every=1, smooth=SMOOTH).open_row(Progress(1, 1, 0.1))
    same, other = logits_of([[1, 0]]), logits_of([[0, 1]])
    row.add(Update({"supervised": term(1.0)}, (same, same)), torch.tensor(1.0))
    row.add(Update({"supervised": term(1.0)}, (same, other)), torch.tensor(1.0))
    assert float(row.values["disagreement"]) == pytest.approx(0, abs=1e-6)


# ------------------------------------------------------------------------------------------------------------ resume


@pytest.mark.parametrize("stop", range(1, 11))
def test_rows_after_a_restore_are_those_of_a_run_that_never_stopped(stop: int) -> None:
    values = torch.rand(11, generator=torch.Generator().manual_seed(5)).tolist()

    def go_on(curves: Curves, first: int, last: int) -> None:
        for iteration in range(first, last + 1):
            branches = (torch.full((1, 2, 2, 2), values[iteration]), torch.zeros(1, 2, 2, 2))
            log(curves, iteration, Update({"supervised": term(values[iteration])}, branches))

    whole = Curves(every=4, smooth=SMOOTH)
    go_on(whole, 1, 10)
    whole.close()

    before = Curves(every=4, smooth=SMOOTH)
    go_on(before, 1, stop)
    before.require_finite()
    content = io.BytesIO()
    torch.save(before.state(), content)
    after = Curves(every=4, smooth=SMOOTH)
    after.restore(torch.load(io.BytesIO(content.getvalue()), weights_only=True))
    go_on(after, stop + 1, 10)
    after.close()
    assert after.table() == whole.table()
