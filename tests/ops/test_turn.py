"""Turns against pixels written out one by one and against numpy."""

import numpy as np
import pytest
import torch

from ssl_bench.ops import ImageTurns, Turn, quarter_turns, random_turn, random_turns

SQUARE, FLAT = (2, 3, 4, 4), (2, 3, 6, 4)


@pytest.mark.parametrize("shape", [SQUARE, (1, 2, 5, 5, 3)])
@pytest.mark.parametrize("choice", [0, 1, 2, 3])
def test_a_quarter_turn_moves_each_pixel_to_its_place(shape: tuple[int, ...], choice: int) -> None:
    tensor = torch.randn(shape)
    side = shape[2]
    found = Turn(torch.tensor([choice]), (0, 1, 2, 3))(tensor)
    for i in range(side):
        for j in range(side):
            a, b = i, j
            for _ in range(choice):  # one quarter turn takes the pixel (a, b) to (side - 1 - b, a)
                a, b = side - 1 - b, a
            assert torch.equal(found[:, :, a, b], tensor[:, :, i, j])


def test_a_half_turn_is_numpys_and_undoes_itself() -> None:
    tensor = torch.randn(2, 3, 6, 4, 5)
    turn = Turn(torch.tensor([1]), (0, 2))
    np.testing.assert_array_equal(turn(tensor).numpy(), np.rot90(tensor.numpy(), 2, (2, 3)))
    assert torch.equal(turn(turn(tensor)), tensor)
    assert torch.equal(Turn(torch.tensor([0]), (0, 2))(tensor), tensor)


@pytest.mark.parametrize(("shape", "quarters"), [(SQUARE, {0, 1, 2, 3}), (FLAT, {0, 2}), ((1, 1, 4, 6, 4), {0, 2})])
def test_turns_that_keep_the_shape_are_drawn_equally_often(shape: tuple[int, ...], quarters: set[int]) -> None:
    torch.manual_seed(0)
    turns = [random_turn(torch.zeros(shape)) for _ in range(400)]
    drawn = [turn.quarters[turn.choice.item()] for turn in turns]
    assert set(drawn) == quarters
    for one in quarters:  # 5 standard deviations of a binomial share
        share = 1 / len(quarters)
        assert abs(drawn.count(one) / 400 - share) < 5 * (share * (1 - share) / 400) ** 0.5
    assert turns[0](torch.zeros(shape)).shape == shape


def test_the_gradient_is_turned_back() -> None:
    tensor = torch.randn(SQUARE, requires_grad=True)
    turn, weights = Turn(torch.tensor([1]), (0, 1, 2, 3)), torch.randn(SQUARE)
    (turn(tensor) * weights).sum().backward()
    assert tensor.grad is not None
    np.testing.assert_allclose(tensor.grad.numpy(), np.rot90(weights.numpy(), -1, (2, 3)))


@pytest.mark.parametrize(
    ("sides", "quarters"), [((4, 4), (0, 1, 2, 3)), ((6, 4, 4), (0, 2)), ((4, 4, 6), (0, 1, 2, 3))]
)
def test_each_image_is_turned_by_its_own_choice(sides: tuple[int, ...], quarters: tuple[int, ...]) -> None:
    assert quarter_turns(sides) == quarters
    choice = torch.arange(6) % len(quarters)
    tensor = torch.randn(6, 2, *sides)
    found = ImageTurns(choice, quarters)(tensor)
    for image, turned, number in zip(tensor, found, choice, strict=True):
        np.testing.assert_array_equal(turned.numpy(), np.rot90(image.numpy(), quarters[number], (1, 2)))


def test_images_of_a_batch_are_turned_independently() -> None:
    torch.manual_seed(0)
    turns = random_turns(torch.zeros(400, 1, 4, 4))
    assert turns.choice.shape == (400,)
    for number in range(4):
        assert abs((turns.choice == number).float().mean() - 0.25) < 5 * (0.25 * 0.75 / 400) ** 0.5
    assert random_turns(torch.zeros(50, 1, 6, 4, 4)).choice.max() == 1
