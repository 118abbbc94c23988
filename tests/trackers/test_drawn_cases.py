"""The pictures that a tracker is sent: the best case, the worst, and some that are drawn."""

import numpy as np

from ssl_bench.store.pictures import Example
from ssl_bench.trackers.description import draw_cases


def example(case: str, why: str) -> Example:
    mask = np.zeros((4, 4), np.uint8)
    return Example(case, why, 0, np.zeros((4, 4, 3), np.uint8), mask, mask)


def titles(kept: dict[str, str], ranking: dict[str, float | None]) -> list[str]:
    return [one.caption for one in draw_cases([example(*item) for item in kept.items()], ranking, "network")]


def test_the_best_and_the_worst_are_those_of_the_scores_even_if_they_were_drawn() -> None:
    kept = {"a": "drawn", "b": "drawn,worst", "c": "drawn,best", "d": "best", "e": "worst"}
    ranking: dict[str, float | None] = {"a": 0.5, "b": 0.1, "c": 0.9, "d": 0.8, "e": 0.2}
    assert titles(kept, ranking) == ["c (best, drawn)", "b (worst, drawn)", "a (drawn)"]


def test_a_case_without_a_score_is_neither() -> None:
    assert titles({"a": "drawn", "b": "drawn"}, {"a": None, "b": None}) == ["a (drawn)", "b (drawn)"]
    assert titles({"a": "drawn", "b": "best,worst"}, {"a": None, "b": 0.5}) == ["b (best, worst)", "a (drawn)"]


def test_no_more_than_four_are_drawn() -> None:
    kept = {str(number): "drawn" for number in range(8)} | {"x": "best", "y": "worst"}
    ranking: dict[str, float | None] = {str(number): 0.5 for number in range(8)} | {"x": 0.9, "y": 0.1}
    assert titles(kept, ranking) == ["x (best)", "y (worst)", "0 (drawn)", "1 (drawn)", "2 (drawn)", "3 (drawn)"]
