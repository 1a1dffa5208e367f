"""What TensorBoard is given, and that nothing is written unless somebody asked for it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from stages.learning.board import FOLDER, Board
from stages.pairs.layout import Block
from stages.pipeline.errors import UserError


def events(folder: Path) -> list[tuple[int, str, Any]]:
    """Step, name and value of all that was written: a number or a picture."""
    found: list[tuple[int, str, Any]] = []
    for path in folder.glob("events*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                png = value.image.encoded_image_string
                found.append((event.step, value.tag, tf.io.decode_png(png).numpy() if png else value.simple_value))
    return found


def test_figures_and_pictures_are_shown_by_their_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "watched"))
    board = Board("select")
    assert board.is_on
    board.show(3, {"selected": 12, "score": 0.5, "loss": None})
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), np.uint8)
    board.show_pairs(11, Block(images, images // 128))
    board.flush()
    *figures, first, second = events(tmp_path / "watched/select")
    assert figures == [(3, "selected", 12.0), (3, "score", 0.5)]
    assert [first[0], second[0]] == [11, 12]
    assert first[1].startswith("pairs of the core")
    np.testing.assert_array_equal(second[2], np.repeat(np.concatenate([images[1], images[1] // 128 * 255], 1), 3, 2))


def test_images_of_classes_are_shown_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    board = Board("select")
    images = np.linspace(0, 1, 2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)
    board.show_pairs(0, Block(images, np.array([[1], [2]], np.uint8)))
    board.flush()
    np.testing.assert_allclose(events(tmp_path / "select")[1][2] / 255, images[1], atol=1 / 255)


def test_nothing_is_written_where_nobody_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FOLDER, raising=False)
    board = Board("select")
    assert not board.is_on
    board.show(1, {"score": 0.5})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(FOLDER, str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"^TRAINCORE_TENSORBOARD is '.*file': "):
        Board("select")
