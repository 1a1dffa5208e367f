"""The shapes of masks."""

import numpy as np
import pytest
from skimage.draw import disk, rectangle

from stages.pairs.layout import IGNORED
from stages.pairs.shapes import shapes_of


def drawn(*shapes: tuple[np.ndarray, ...]) -> np.ndarray:
    mask = np.zeros((1, 64, 64, 1), np.uint8)
    for rows, columns in shapes:
        mask[0, rows, columns, 0] = 1
    return mask


def test_a_circle_is_the_simplest_shape_and_objects_are_summed() -> None:
    circle, bar = disk((20, 20), 12), rectangle((50, 5), (53, 58))
    ((area, complexity),) = shapes_of(drawn(circle))
    assert area == len(circle[0])
    assert complexity == pytest.approx(1, abs=0.05)
    ((of_bar, of_its_shape),) = shapes_of(drawn(bar))
    assert of_its_shape > 2
    ((both, together),) = shapes_of(drawn(circle, bar))
    assert both == area + of_bar
    assert together == pytest.approx(complexity + of_its_shape)


def test_a_mask_without_foreground_has_no_shape() -> None:
    np.testing.assert_array_equal(shapes_of(np.zeros((3, 16, 16, 1), np.uint8)), np.zeros((3, 2)))
    assert shapes_of(np.zeros((0, 16, 16, 1), np.uint8)).shape == (0, 2)


def test_objects_of_classes_that_touch_are_two_and_ignored_pixels_are_none() -> None:
    apart = drawn(rectangle((10, 10), (19, 19)), rectangle((10, 30), (19, 39)))
    touching = drawn(rectangle((10, 10), (19, 19)))
    touching[0, 10:20, 20:30, 0] = 2
    touching[0, 40:60, 40:60, 0] = IGNORED
    np.testing.assert_allclose(shapes_of(touching), shapes_of(apart))
