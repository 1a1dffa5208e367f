"""Whatever stands in a file that a stage reads: it works, or one line says which file and what to do.

Nothing hangs, prints a traceback, allocates what a file merely claims to hold, or writes anywhere.
"""

import datetime
import io
import json
import math
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import keras
import numcodecs
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages import networks, params, shards, store
from stages.cores import read_rows
from stages.errors import UserError
from stages.networks.layers import BatchNormalization, Conv2DTranspose, Dropout
from stages.optimizers import Adam
from stages.outputs import read_output
from stages.store import Pairs
from tests.project import ROOT
from tests.test_params import CHOICES, KEYS, VALUES, replaced
from tests.test_store import COUNT, FILES, SHARD_ROWS, edit, flip, random_pairs, same, swap, tree, write

MEGABYTE = 2**20

# A working folder outlives an example: each example writes the one file that it is about anew.
examples = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def line_of(call: Callable[[], Any]) -> str | None:
    """The line that a call ends in, if it does not work."""
    try:
        call()
    except UserError as error:
        line = str(error)
    else:
        return None
    assert len(line.splitlines()) == 1
    assert len(line) < 600
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in line)
    return line


def refused(call: Callable[[], Any]) -> str:
    """The line that a call has to end in."""
    line = line_of(call)
    assert line is not None
    return line


@contextmanager
def little_memory(most: int = 16 * MEGABYTE) -> Iterator[None]:
    """What is done within allocates no more than this."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


# params.yaml

STAGES = [("generate", "train"), ("generate", "test"), ("train_seed", ""), ("select", ""), ("evaluate", "")]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**19, -(10**30), 10**400, 2**63, 2**63 - 1])
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.binary(max_size=4)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
tokens = st.sampled_from(
    [
        "0o17", "017", "0x1F", "0b11", "1_000", "1:30:00", "1:30:00.5", "+.inf", "-.INF", ".NaN", "-0.0", "-0",
        "1e999", "1e-999", "9" * 4000, "9" * 5000, "0x" + "f" * 5000, "1:" * 3000 + "1", "=", "<<", "~", "null",
        "Null", "yes", "off", "''", '"\\ud800"', '"\\0\\x1b[31m"', "'" + "x" * 30_000 + "'", "|\n    two\n    lines",
        "2020-02-30", "0001-01-01 00:00:00 +99:99", "&a 1", "*a", "!!int '1'", "!!python/name:os.system",
        "!!binary aGk=", "!x 1", "[" * 400, "[" * 400 + "]" * 400, "{a: " * 300 + "1" + "}" * 300, "{1: 2, 1: 3}",
        "{? [1] : 2}", "{? {a: 1} : 2}", "- 1", "a: b", "%YAML 1.1", "---", "...", "\t", "@", "`", "\ufeff",
        "\u2028", "\x07", "'\u202e'", "{<<: {a: 1}}",
    ]
)  # fmt: skip


def in_place_of(key: str, token: str) -> str:
    """The project's params.yaml with some text in place of a value."""
    return yaml.safe_dump(replaced(VALUES, key, "PLACE"), sort_keys=False).replace("PLACE", token)


@given(st.sampled_from(STAGES), st.sampled_from(KEYS), values)
@settings(examples, max_examples=60)
def test_any_value_in_any_place_is_taken_or_named_with_what_is_allowed(
    workspace: Path, stage: tuple[str, str], key: str, value: object
) -> None:
    (workspace / "params.yaml").write_text(yaml.safe_dump(replaced(VALUES, key, value)), encoding="utf-8")
    line = line_of(lambda: params.load(*stage))
    if line is not None and "not plain YAML" not in line:  # PyYAML writes bytes with a tag
        assert line.startswith("params.yaml: ")
        assert key in line
        assert "allowed" in line or "is missing" in line  # an empty section


@given(st.sampled_from(STAGES), st.sampled_from(KEYS), tokens)
@settings(examples, max_examples=100)
def test_any_text_in_place_of_a_value_is_taken_or_refused_in_one_line(
    workspace: Path, stage: tuple[str, str], key: str, token: str
) -> None:
    (workspace / "params.yaml").write_text(in_place_of(key, token), encoding="utf-8")
    line = line_of(lambda: params.load(*stage))
    assert line is None or line.startswith("params.yaml: ")


@given(data=st.data(), name=st.text(max_size=12) | st.integers() | st.none() | st.dates())
@settings(examples, max_examples=40)
def test_keys_that_are_missing_or_unknown_are_named(workspace: Path, data: st.DataObject, name: object) -> None:
    section = data.draw(st.sampled_from([None, *(key for key, value in VALUES.items() if isinstance(value, dict))]))
    changed = json.loads(json.dumps(VALUES))
    target = changed if section is None else changed[section]
    dropped = data.draw(st.sampled_from([None, *target]))
    known = dropped is None and name in target
    if dropped is not None:
        del target[dropped]
    target[name] = target.get(name, 1)
    (workspace / "params.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
    line = line_of(lambda: params.load("select"))
    if known or name == dropped:
        return  # a good key with its own value, or another
    assert line is not None
    assert "unknown parameter" in line or f"{dropped}' is missing" in line


@given(st.binary(max_size=40), st.floats(0, 1), st.booleans())
@settings(examples, max_examples=60)
def test_bytes_put_anywhere_into_the_file_are_taken_or_refused_in_one_line(
    workspace: Path, inserted: bytes, place: float, cut: bool
) -> None:
    content = (ROOT / "params.yaml").read_bytes()
    at = int(place * len(content))
    (workspace / "params.yaml").write_bytes(content[:at] + inserted + (b"" if cut else content[at:]))
    line = line_of(lambda: params.load("evaluate"))
    assert line is None or line.startswith("params.yaml: ")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
WHOLE_FILES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "found None, allowed is a mapping"),
    "NUL bytes": (bytes(1000), "not plain YAML"),
    "a NUL byte": (b"precision: \0\n", "not plain YAML"),
    "other encoding": ("precision: 0.85\n".encode("utf-16"), "'utf-8' codec"),
    "Latin-1": ("# é\n".encode("latin-1"), "'utf-8' codec"),
    "random bytes": (np.random.default_rng(0).bytes(500), "cannot be read"),
    "two documents": (b"precision: 1\n---\nprecision: 2\n", "not plain YAML"),
    "a billion laughs": (BOMB.encode(), "aliases are not allowed"),
    "an alias of itself": (b"a: &a {b: *a}\n", "aliases are not allowed"),
    "merged aliases": (b"a: &a {b: 1}\nc: {<<: *a}\n", "aliases are not allowed"),
    "a call": (b"a: !!python/object/apply:os.mkdir [pwned]\n", "tags are not allowed"),
    "a new object": (b"a: !!python/object/new:os.system [mkdir pwned]\n", "tags are not allowed"),
    "a module": (b"a: !!python/module:antigravity\n", "tags are not allowed"),
    "deep lists": (b"a: " + b"[" * 30_000, "recursion"),
    "deep mappings": (b"{a: " * 10_000, "recursion"),
    "deep blocks": (b"- " * 20_000, "recursion"),
    "a long value": (b"precision: " + b"x" * 60_000, "precision is 'xxx"),
    "a long key": (b"? " + b"x" * 60_000 + b"\n: 1\n", "unknown parameter 'xxx"),
    "a long anchor": (b"precision: &" + b"x" * 60_000 + b" 1\nb: &" + b"x" * 60_000 + b" 1\n", "at most 65536"),
    "50 megabytes": (b"precision: " + b"x" * 50_000_000, "50000011 bytes, allowed are at most 65536"),
    "thousands of keys": (b"".join(b"k%d: 1\n" % number for number in range(5000)), "unknown parameter 'k0'"),
    "a key twice": (b"precision: 1\n'precision': 2\n", "key 'precision' stands twice"),
}


@pytest.mark.parametrize("case", WHOLE_FILES)
def test_a_file_that_is_nothing_like_parameters_is_refused(workspace: Path, case: str) -> None:
    content, named = WHOLE_FILES[case]
    (workspace / "params.yaml").write_bytes(content)
    line = refused(lambda: params.load("train_seed"))
    assert line.startswith("params.yaml: ")
    assert named in line
    assert not (workspace / "pwned").exists()


@pytest.mark.parametrize("marks", [(b"\xef\xbb\xbf", b"\n"), (b"", b"\r\n")], ids=["byte order mark", "CRLF"])
def test_a_file_from_another_editor_is_the_same_file(workspace: Path, marks: tuple[bytes, bytes]) -> None:
    path, expected = workspace / "params.yaml", params.load("select")
    path.write_bytes(marks[0] + path.read_bytes().replace(b"\n", marks[1]))
    assert params.load("select") == expected


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def link_to_zeros(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def lock(path: Path) -> None:
    path.chmod(0)


NO_FILES = [make_folder, make_pipe, link_to_itself, link_to_zeros, Path.unlink]


@pytest.mark.parametrize("change", NO_FILES)
@pytest.mark.parametrize("name", ["params.yaml", "stages/choices.yaml"])
def test_what_is_no_file_is_refused_and_not_waited_for(
    workspace: Path, name: str, change: Callable[[Path], None]
) -> None:
    change(workspace / name)
    line = refused(lambda: params.load("select"))
    assert line.startswith(f"{name}: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_refused(workspace: Path) -> None:
    lock(workspace / "params.yaml")
    assert "Permission denied" in refused(lambda: params.load("select"))


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("networks", None, "allowed are the tables"),
        ("networks.residual_unet", 5, "networks.residual_unet is 5, allowed are the keys"),
        ("networks.residual_unet", {}, "allowed are the keys"),
        ("networks.residual_unet.base_filters", "16", "network.base_filters is '16', allowed is: an integer"),
        ("networks.residual_unet.loss", "mse", "training.loss is 'mse', allowed are: bce_dice"),
        ("networks.residual_unet.score", "mse", "score is 'mse', allowed are: "),
        ("networks.residual_unet.size_multiple", 0, "size_multiple is 0, allowed is: integer greater than 0"),
        ("networks.residual_unet.size_multiple", True, "size_multiple is True, allowed is: integer"),
        ("scores.tiered_iou.best", "1", "scores.tiered_iou.best is '1', allowed is: number"),
        (
            "datasets.ellipses.image_size",
            10**6,
            "dataset.image_size is 1000000, allowed is: less than or equal to 4096",
        ),
    ],
)
def test_a_wrong_line_of_the_choices_is_refused(workspace: Path, key: str, value: object, named: str) -> None:
    (workspace / "stages/choices.yaml").write_text(yaml.safe_dump(replaced(CHOICES, key, value)))
    line = refused(lambda: params.load("select"))
    assert line.startswith("stages/choices.yaml: ")
    assert named in line


def test_images_are_no_larger_than_float32_can_count() -> None:
    largest = replaced(VALUES, "dataset.image_size", 4096)
    params.validate(largest, CHOICES)
    assert 4096**2 == np.float32(4096**2) == 2**24
    assert "less than or equal to 4096" in refused(
        lambda: params.validate(replaced(largest, "dataset.image_size", 4112), CHOICES)
    )


@pytest.mark.parametrize(
    ("stage", "content"),
    [
        (["generate", "test"], b"precision: " + b"9" * 5000),
        (["train_seed"], WHOLE_FILES["deep lists"][0]),
        (["select"], WHOLE_FILES["a call"][0]),
        (["evaluate"], in_place_of("dataset", '{"\\e[31m\\n": 1}').encode()),
    ],
    ids=["a huge number", "deep lists", "a call", "control characters"],
)
def test_a_stage_of_its_own_ends_with_1_and_one_line_and_touches_nothing(
    workspace: Path, stage: list[str], content: bytes
) -> None:
    shutil.copytree(ROOT / "stages", workspace / "stages", dirs_exist_ok=True)
    (workspace / "params.yaml").write_bytes(content)
    before = tree(workspace)
    result = subprocess.run(
        [sys.executable, "-B", "-m", f"stages.{stage[0]}", *stage[1:]],
        env={key: value for key, value in os.environ.items() if not key.startswith("DVC")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{stage[0]}: params.yaml: ")
    assert len(result.stderr.splitlines()) == 1
    assert tree(workspace) == before


# Sets of pairs


@pytest.fixture(scope="module", autouse=True)
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SHARD_ROWS", SHARD_ROWS)
        yield


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, small_shards: None) -> Path:
    """A good set, not to be changed."""
    path = tmp_path_factory.mktemp("sound") / "set.zarr"
    write(path, random_pairs(COUNT))
    return path


@contextmanager
def copied(sound: Path) -> Iterator[Path]:
    """A copy of the set for one example."""
    copy = sound.with_name("copy.zarr")
    try:
        yield Path(shutil.copytree(sound, copy))
    finally:
        shutil.rmtree(copy)


def read_all(path: Path) -> str | None:
    """Read a set: data are as they were written, or a line names a file of it and the way to get it back."""
    found = []
    with little_memory():
        line = line_of(lambda: found.append(Pairs(path).read(range(COUNT))))
    if line is None:
        assert same(found[0], random_pairs(COUNT))
    else:
        assert line.startswith(f"{path}")
        assert f"`dvc checkout --force {os.path.relpath(path)}` restores it" in line
    return line


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 20)
    | st.sampled_from([10**6, 10**12, 2**63, 2**64, 10**30, -(10**12), 10**400])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["uint8", "float32", "uint16", "<u4", "big", "start", "gzip", "zstd", "bytes", "v2", "regular"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=6,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container within a value with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []:
        yield value, key
        yield from places(value[key])


def change_a_place(values: Any, place: int, value: object, drop: bool) -> None:
    """Put something else in one of the places of JSON values, or drop what is there."""
    every = list(places(values))
    container, key = every[place % len(every)]
    if drop:
        del container[key]
    else:
        container[key] = value


@given(
    st.sampled_from(["", "images", "masks", "checksums"]), st.integers(0, 1000), st.none() | json_values, st.booleans()
)
@settings(examples, max_examples=60)
def test_whatever_metadata_say_data_are_right_or_refused(
    sound: Path, name: str, place: int, value: object, drop: bool
) -> None:
    with copied(sound) as path:
        file = path / name / "zarr.json"
        metadata = json.loads(file.read_text())
        change_a_place(metadata, place, value, drop)
        file.write_text(json.dumps(metadata))
        read_all(path)


def extend(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes() + other.read_bytes())


def shorten(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size - 1 - other.stat().st_size % 50])


FILE_CHANGES: dict[str, Callable[[Path, Path], Any]] = {
    "extended": extend,
    "shortened": shorten,
    "removed": lambda file, other: file.unlink(),
    "another": lambda file, other: shutil.copy(other, file),
    "swapped": lambda file, other: swap(file, other),
    "empty": lambda file, other: file.write_bytes(b""),
    "folder": lambda file, other: make_folder(file),
    "pipe": lambda file, other: make_pipe(file),
    "loop": lambda file, other: link_to_itself(file),
    "endless": lambda file, other: link_to_zeros(file),
    "sparse": lambda file, other: os.truncate(file, 2**40),
}


@given(st.permutations(FILES), st.sampled_from(sorted(FILE_CHANGES)))
@settings(examples, max_examples=60)
def test_whatever_is_done_to_a_file_of_a_set_is_refused(sound: Path, names: list[str], change: str) -> None:
    with copied(sound) as path:
        FILE_CHANGES[change](path / names[0], path / names[1])
        line = read_all(path)
        if line is None:  # an index at the end of another shard may point to the same places
            assert change == "extended"
            return
        assert any(f"copy.zarr/{name}: " in line for name in (names if change == "swapped" else names[:1]))


@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
@settings(examples, max_examples=40)
def test_no_bit_of_a_set_changes_data_unnoticed(sound: Path, name: str, place: float, bit: int) -> None:
    with copied(sound) as path:
        content = bytearray((path / name).read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        (path / name).write_bytes(content)
        assert read_all(path) is not None or name.endswith("zarr.json")


def claim(path: Path, shape: list[int]) -> None:
    """Make all metadata of a set agree on a shape of its images."""
    count, *pair = shape
    rows = max(1, min(SHARD_ROWS, 64 * MEGABYTE // math.prod(pair)))
    for name, pair_shape in (("images", pair), ("masks", [*pair[:2], 1])):
        edit(path / name, "shape", value=[count, *pair_shape])
        edit(path / name, "chunk_grid", "configuration", "chunk_shape", value=[rows, *pair_shape])
        edit(path / name, "codecs", 0, "configuration", "chunk_shape", value=[1, *pair_shape])
    edit(path / "checksums", "shape", value=[count, 2])
    edit(path / "checksums", "chunk_grid", "configuration", "chunk_shape", value=[count, 2])


def nest(path: Path, depth: int) -> None:
    """Put deeply nested attributes into a set."""
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace('"version"', f'"deep": {"[" * depth}{"]" * depth}, "version"'))


def consolidate(path: Path) -> None:
    """Put metadata of another set where Zarr would prefer them to those of the arrays."""
    other = json.loads((path / "images/zarr.json").read_text()) | {"data_type": "int8"}
    edit(
        path, "consolidated_metadata", value={"kind": "inline", "must_understand": False, "metadata": {"images": other}}
    )


def put_a_file_in_place_of_images(path: Path) -> None:
    shutil.rmtree(path / "images")
    (path / "images").touch()


SETS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a million million pairs": (lambda path: claim(path, [10**12, 4, 5, 3]), "zarr.json: 1000000000000 pairs of"),
    "a hundred million pairs": (lambda path: claim(path, [10**8, 4, 5, 3]), "images/c/2/0/0/0: truncated: "),
    "a million channels": (lambda path: claim(path, [COUNT, 4, 5, 10**6]), "images/c/0/0/0/0: truncated"),
    "endless images": (lambda path: claim(path, [COUNT, 10**9, 10**9, 3]), "pairs of 3000000000000000000 bytes"),
    "one pair fewer": (lambda path: claim(path, [COUNT - 1, 4, 5, 3]), "images/c/2/0/0/0: damaged: "),
    "other sides": (lambda path: claim(path, [COUNT, 4, 15, 1]), "masks/c/0/0/0/0: damaged: chunk 0 does not hold"),
    "no rows": (lambda path: edit(path / "images", "shape", 0, value=0), "images/zarr.json: 'uint8' [0, 4, 5, 3]"),
    "negative": (lambda path: edit(path / "images", "shape", 1, value=-4), "images/zarr.json: 'uint8' [8, -4, 5, 3]"),
    "text": (lambda path: edit(path / "images", "shape", 1, value="4"), "images/zarr.json: 'uint8' [8, '4', 5, 3]"),
    "null": (lambda path: edit(path / "masks", "shape", value=None), "masks/zarr.json: damaged metadata"),
    "a number that cannot be printed": (
        lambda path: (path / "images/zarr.json").write_text('{"shape": ' + "9" * 5000 + "}"),
        "images/zarr.json: damaged metadata",
    ),
    "big endian": (
        lambda path: edit(path / "checksums", "codecs", 0, "configuration", "endian", value="big"),
        "checksums/zarr.json: byte order 'big', expected little",
    ),
    "a newer version": (
        lambda path: edit(path, "attributes", "version", value=2),
        "zarr.json: version 2 of the format",
    ),
    "a version that is no number": (lambda path: edit(path, "attributes", "version", value=True), "version True"),
    "another format": (lambda path: edit(path, "attributes", "format", value=[1]), "zarr.json: format [1], expected"),
    "attributes that are none": (lambda path: edit(path, "attributes", value="x"), "zarr.json: format 'x'"),
    "Zarr v2": (lambda path: edit(path, "zarr_format", value=2), "zarr.json: not the metadata of a Zarr v3 group"),
    "deep attributes": (lambda path: nest(path, 100), "zarr.json: damaged metadata: nested more than 50 deep"),
    "deeper attributes": (lambda path: nest(path, 200_000), "zarr.json: damaged metadata: maximum recursion"),
    "endless metadata": (lambda path: nest(path, MEGABYTE), "zarr.json: damaged: 2097"),
    "metadata that are a list": (lambda path: (path / "zarr.json").write_text("[]"), "zarr.json: not the metadata"),
    "metadata that are no text": (lambda path: flip(path / "masks/zarr.json", 9), "masks/zarr.json: damaged metadata"),
    "no shard of masks": (lambda path: (path / "masks/c/1/0/0/0").unlink(), "masks/c/1/0/0/0: missing"),
    "swapped arrays": (lambda path: swap(path / "images", path / "masks"), "images/zarr.json: codecs"),
    "a file in place of an array": (
        put_a_file_in_place_of_images,
        "images/zarr.json: cannot be read: Not a directory",
    ),
}


@pytest.mark.parametrize("case", SETS)
def test_a_set_that_is_not_as_it_says_is_refused_before_anything_is_allocated(sound: Path, case: str) -> None:
    change, named = SETS[case]
    with copied(sound) as path:
        change(path)
        line = read_all(path)
    assert line is not None
    assert named in line


def test_metadata_beside_those_of_the_arrays_are_not_followed(sound: Path) -> None:
    with copied(sound) as path:
        consolidate(path)
        assert read_all(path) is None


@pytest.mark.parametrize("name", [name for name in FILES if "/c/" in name])
def test_a_file_of_another_set_of_the_same_shape_is_refused(sound: Path, name: str, tmp_path: Path) -> None:
    write(tmp_path / "other.zarr", random_pairs(COUNT, seed=1))
    with copied(sound) as path:
        shutil.copy(tmp_path / "other.zarr" / name, path / name)
        assert read_all(path) is not None


# Shards

CHUNK = 60
zstd = numcodecs.Zstd(level=1)


def write_any_shard(path: Path, body: bytes, entries: list[tuple[int, int]]) -> None:
    """Write a shard whose index says whatever it is to say, with a good checksum."""
    index = np.array(entries, dtype="<u8").tobytes()
    path.write_bytes(body + index + struct.pack("<I", shards.checksum(index)))


def read_any_shard(path: Path, slots: int, sums: list[int], compression: str) -> list[bytes]:
    with little_memory(MEGABYTE):
        index = shards.read_index(path, slots)
        return list(shards.read_chunks(path, index, range(slots), sums, compression, CHUNK))


@given(st.binary(max_size=200), st.integers(1, 5), st.sampled_from(["raw", "zstd"]))
@settings(examples, max_examples=60)
def test_bytes_that_are_no_shard_are_refused(tmp_path: Path, content: bytes, slots: int, compression: str) -> None:
    (tmp_path / "shard").write_bytes(content)
    line = refused(lambda: read_any_shard(tmp_path / "shard", slots, [0] * slots, compression))
    assert line.startswith(f"{tmp_path / 'shard'}: ")


numbers = st.integers(0, 150) | st.sampled_from([2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 4])


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=2), st.sampled_from(["raw", "zstd"]))
@settings(examples, max_examples=100)
def test_wherever_an_index_points_chunks_are_right_or_refused(
    tmp_path: Path, entries: list[tuple[int, int]], compression: str
) -> None:
    chunks = [bytes([number]) * CHUNK for number in (1, 2)]
    path = tmp_path / "shard"
    sums = shards.write_shard(path, chunks, 2, compression)
    write_any_shard(path, path.read_bytes()[: -shards.index_bytes(2)], entries)
    read: list[bytes] = []
    line = line_of(lambda: read.extend(read_any_shard(path, 2, sums, compression)))
    assert read == chunks if line is None else "chunk" in line


def frame(header: str, content: bytes = b"") -> bytes:
    return bytes.fromhex("28b52ffd" + header) + content


FRAMES: dict[str, bytes] = {
    "a hundred megabytes of zeros": zstd.encode(bytes(10**8)),
    "gigabytes, it says": frame("c0" + "58" + "0000000010000000", bytes(40)),
    "more than there is in the world, it says": frame("e0" + "ff" * 8, bytes(40)),
    "a size that it does not say": frame("0058", zstd.encode(bytes(CHUNK))[6:]),
    "the right size and a second frame": zstd.encode(bytes(CHUNK)) + zstd.encode(bytes(10**7)),
    "the right size, it says": frame("20" + f"{CHUNK:02x}", zstd.encode(bytes(10**7))[9:]),
    "one byte fewer": zstd.encode(bytes(CHUNK - 1)),
    "one byte more": zstd.encode(bytes(CHUNK + 1)),
    "no frame": bytes(CHUNK),
    "a header alone": frame(""),
    "half a header": frame("c058"),
    "nothing": b"",
    "half a frame": zstd.encode(np.random.default_rng(0).bytes(CHUNK))[:40],
}


@pytest.mark.parametrize("case", FRAMES)
def test_a_frame_that_is_no_pair_is_refused_before_it_is_decoded(tmp_path: Path, case: str) -> None:
    encoded = FRAMES[case]
    body = encoded + struct.pack("<I", shards.checksum(encoded))
    write_any_shard(tmp_path / "shard", body, [(0, len(body))])
    line = refused(lambda: read_any_shard(tmp_path / "shard", 1, [shards.checksum(encoded)], "zstd"))
    assert "shard: damaged: chunk 0" in line


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_535, 65_791, 65_792, 70_000, 2**20])
@pytest.mark.parametrize("noise", [False, True])
def test_frames_of_any_size_are_read(tmp_path: Path, size: int, noise: bool) -> None:
    chunk = np.random.default_rng(0).bytes(size) if noise else bytes(size)
    sums = shards.write_shard(tmp_path / "shard", [chunk], 1, "zstd")
    index = shards.read_index(tmp_path / "shard", 1)
    assert list(shards.read_chunks(tmp_path / "shard", index, [0], sums, "zstd", size)) == [chunk]


# The table of a core


@given(st.binary(max_size=80) | st.text('row,order\n\r"0123456789-+. _\t\0\u0661', max_size=60).map(str.encode))
@settings(examples, max_examples=150)
def test_any_bytes_are_a_table_of_rows_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "core.csv"
    path.write_bytes(content)
    rows: list[int] = []
    line = line_of(lambda: rows.extend(read_output(path, read_rows, 8).tolist()))
    if line is None:
        assert rows
        assert len(set(rows)) == len(rows)
        assert all(0 <= row < 8 and str(row).encode() in content for row in rows)
    else:
        assert line.startswith(f"{path}: ")
        assert f"`dvc checkout --force {path}` restores it" in line


TABLES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no column 'row'"),
    "a header alone": (b"row,order,score,epochs\n", "it holds no rows"),
    "no column of rows": (b"order,score\n1,2\n", "no column 'row'"),
    "two columns of rows": (b"row,row\n1,2\n", "no column 'row', or more than one"),
    "a row past the end": (b"row\n8\n", "line 2 holds ['8'], expected 1 columns with a row from 0 to 7"),
    "a negative row": (b"row\n-1\n", "line 2 holds ['-1']"),
    "a row that is no number": (b"row\n1\n2.0\n", "line 3 holds ['2.0']"),
    "a row as Python writes it": (b"row\n0_1\n", "line 2 holds ['0_1']"),
    "other digits": ("row\n\u0661\n".encode(), "line 2 holds"),
    "a row twice": (b"row\n3\n4\n3\n", "row 3 stands in line 2 and in line 4"),
    "too few columns": (b"order,row\n1\n", "line 2 holds ['1'], expected 2 columns"),
    "too many columns": (b"row\n1,2\n", "line 2 holds ['1', '2'], expected 1 columns"),
    "an empty line": (b"row\n1\n\n", "line 3 holds []"),
    "NUL bytes": (b"row\n\0\n", "line 2 holds"),
    "a huge number": (b"row\n" + b"9" * 900 + b"\n", "line 2 holds ['999"),
    "a huge file": (b"row\n" + b"1" * 10**6, "1000004 bytes, expected at most 36864"),
    "no text": (b"row\n\xff\n", "'utf-8' codec"),
    "an open quote": (b'row\n"1\n2\n', "line 3 holds"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_is_no_core_is_refused_with_the_line(tmp_path: Path, case: str) -> None:
    content, named = TABLES[case]
    path = tmp_path / "core.csv"
    path.write_bytes(content)
    line = refused(lambda: read_output(path, read_rows, 8))
    assert named in line
    assert line.endswith(f"`dvc checkout --force {path}` restores it")


@pytest.mark.parametrize("change", NO_FILES)
def test_a_table_that_is_no_file_is_refused(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "core.csv"
    path.touch()
    change(path)
    assert refused(lambda: read_output(path, read_rows, 8)).startswith(f"{path}: ")


# Models

Members = dict[str, bytes]
IMAGES = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)


def tiny_network(filters: int = 2) -> keras.Model:
    """The layers of the project in a row, with an optimizer."""
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(filters, 3, padding="same")(images)
    x = Dropout(0.5)(BatchNormalization()(x))
    x = Conv2DTranspose(filters, 3, padding="same")(x)
    network = keras.Model(images, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))
    network.compile(optimizer=Adam(0.01))
    network.optimizer.build(network.trainable_variables)
    return network


def members_of(network: keras.Model, path: Path) -> Members:
    network.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """What a good model consists of."""
    return members_of(tiny_network(), tmp_path_factory.mktemp("model") / "network.keras")


def packed(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def predicted(path: Path) -> np.ndarray:
    return np.asarray(networks.load(path)(IMAGES, training=False))


def with_weights(members: Members, change: Callable[[Any], Any]) -> Members:
    """The model with something done to its file of weights."""
    buffer = io.BytesIO(members["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        change(file)
    return {**members, "model.weights.h5": buffer.getvalue()}


def replace(file: Any, name: str, values: np.ndarray) -> None:
    del file[name]
    file[name] = values


def fill(file: Any, name: str, value: float) -> None:
    file[name][...] = value


def with_config(members: Members, change: Callable[[Any], Any]) -> Members:
    """The model with something done to its config."""
    config = json.loads(members["config.json"])
    return {**members, "config.json": json.dumps(change(config) or config).encode()}


def convolution(config: Any) -> Any:
    return next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Conv2D")


def put_class(network: Any, **values: Any) -> None:
    convolution(network).update(values)


def call(config: Any, module: str, function: str) -> None:
    """Have a function called in place of the activation."""
    convolution(config)["config"]["activation"] = {
        "class_name": "function", "module": module, "config": function, "registered_name": function,
    }  # fmt: skip


def lambda_model(tmp_path: Path) -> bytes:
    network = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Lambda(lambda x: x[..., :1])])
    return packed(members_of(network, tmp_path / "lambda.keras"))


class Call:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


FIRST = "layers/conv2d/vars/0"
MODELS: dict[str, tuple[Callable[[Members], Members], str]] = {
    "no weights": (lambda m: {k: v for k, v in m.items() if not k.endswith("h5")}, "expected ['config.json'"),
    "no config": (lambda m: {k: v for k, v in m.items() if k != "config.json"}, "expected ['config.json'"),
    "weights in a pickle": (
        lambda m: {"config.json": m["config.json"], "metadata.json": b"{}", "model.weights.npz": pickle.dumps(Call())},
        "it holds ['config.json', 'metadata.json', 'model.weights.npz']",
    ),
    "a file for elsewhere": (lambda m: {**m, "../../evil": b"x"}, "it holds ['../../evil'"),
    "a file for the root": (lambda m: {**m, "/tmp/evil": b"x"}, "it holds ['/tmp/evil'"),
    "weights that are no HDF5": (lambda m: {**m, "model.weights.h5": b"x" * 100}, "not a Keras model"),
    "weights cut off": (lambda m: {**m, "model.weights.h5": m["model.weights.h5"][:-3000]}, "not a Keras model"),
    "a weight of another shape": (
        lambda m: with_weights(m, lambda f: replace(f, FIRST, np.ones((3, 3, 3, 4)))),
        "not a",
    ),
    "a weight that is missing": (lambda m: with_weights(m, lambda f: f.pop(FIRST)), "not a Keras model"),
    "a layer that is missing": (lambda m: with_weights(m, lambda f: f.pop("layers/conv2d")), "not a Keras model"),
    "a link to another file": (
        lambda m: with_weights(
            m, lambda f: [f.pop(FIRST), f.__setitem__(FIRST, h5py.ExternalLink("/etc/passwd", "/"))]
        ),
        "not a Keras model",
    ),
    "a weight that is NaN": (
        lambda m: with_weights(m, lambda f: fill(f, FIRST, math.nan)),
        "values that are not finite",
    ),
    "a moment that is infinite": (
        lambda m: with_weights(m, lambda f: fill(f, "optimizer/vars/3", math.inf)),
        "values that are not finite",
    ),
    "a moment that is missing": (lambda m: with_weights(m, lambda f: f.pop("optimizer/vars/3")), "Skipping variable"),
    "no moments": (lambda m: with_weights(m, lambda f: f.pop("optimizer")), "not a Keras model"),
    "random state of another shape": (
        lambda m: with_weights(m, lambda f: replace(f, "layers/dropout/vars/random_state", np.ones(3, np.uint32))),
        "not a Keras model",
    ),
    "no random state": (
        lambda m: with_weights(m, lambda f: f.pop("layers/dropout/vars/random_state")),
        "not a Keras model",
    ),
    "a config that is no JSON": (lambda m: {**m, "config.json": b"{"}, "not a Keras model"),
    "a config that is no text": (lambda m: {**m, "config.json": b"\xff"}, "not a Keras model"),
    "a config that is a list": (lambda m: {**m, "config.json": b"[]"}, "not a Keras model"),
    "a config that is null": (lambda m: {**m, "config.json": b"null"}, "not a Keras model"),
    "a deep config": (lambda m: {**m, "config.json": b"[" * 10**5 + b"]" * 10**5}, "recursion"),
    "a huge config": (lambda m: {**m, "config.json": bytes(2**24 + 1)}, "config.json is larger than"),
    "a command for a layer": (
        lambda m: with_config(m, lambda c: put_class(c, module="os", class_name="system", config="mkdir pwned")),
        "it asks for 'system' of the module 'os'",
    ),
    "a module for a layer": (
        lambda m: with_config(m, lambda c: put_class(c, module="this", class_name="d", registered_name=None)),
        "it asks for 'd' of the module 'this'",
    ),
    "an import for a layer": (
        lambda m: with_config(m, lambda c: put_class(c, module="stages.networks", class_name="import_module")),
        "not a Keras model",
    ),
    "a name that nobody registered": (
        lambda m: with_config(m, lambda c: put_class(c, module=None, class_name="X", registered_name="mine>X")),
        "not a Keras model",
    ),
    "a download for an activation": (
        lambda m: with_config(m, lambda c: call(c, "keras.datasets.mnist", "load_data")),
        "it asks for 'function' of the module 'keras.datasets.mnist'",
    ),
    "a command for an activation": (
        lambda m: with_config(m, lambda c: call(c, "builtins", "eval")),
        "not a Keras model",
    ),
    "a saved model for a layer": (
        lambda m: with_config(
            m,
            lambda c: put_class(
                c, class_name="TFSMLayer", config={"filepath": "pwned", "call_endpoint": "serving_default"}
            ),
        ),
        "not a Keras model",
    ),
    "a layer for a network": (lambda m: with_config(m, lambda c: convolution(c)), "not a Keras model"),
    "an optimizer for a network": (lambda m: with_config(m, lambda c: c["compile_config"]["optimizer"]), "not a Keras"),
    "a thousand million filters": (
        lambda m: with_config(m, lambda c: convolution(c)["config"].update(filters=10**9)),
        "not a Keras model",
    ),
    "a wide kernel": (
        lambda m: with_config(m, lambda c: convolution(c)["config"].update(kernel_size=[10**5, 10**5])),
        "weights and holds",
    ),
    "a number of filters that is none": (
        lambda m: with_config(m, lambda c: convolution(c)["config"].update(filters="many")),
        "not a Keras model",
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a stage runs: a folder within a folder, so that what is written outside is seen."""
    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def refused_model(folder: Path, content: bytes) -> str:
    """The line that a model is refused in; nothing is written."""
    path = Path("models/core.keras")
    path.write_bytes(content)
    before = tree(folder.parent)
    line = refused(lambda: networks.load(path))
    assert line.startswith("models/core.keras: not a Keras model: ")
    assert line.endswith("`dvc checkout --force models/core.keras` restores it")
    assert tree(folder.parent) == before
    assert not (folder / "pwned").exists()
    return line


@pytest.mark.parametrize("case", MODELS)
def test_a_model_that_is_not_sound_is_refused(folder: Path, members: Members, case: str) -> None:
    change, named = MODELS[case]
    assert named in refused_model(folder, packed(change(members)))


def flip_a_weight(members: Members) -> bytes:
    content, weights = bytearray(packed(members)), members["model.weights.h5"]
    content[content.index(weights) + len(weights) // 2] ^= 1
    return bytes(content)


CONTENTS: dict[str, tuple[Callable[[Members], bytes], str]] = {
    "nothing": (lambda m: b"", "not a zip file"),
    "a pickle": (lambda m: pickle.dumps(Call()), "not a zip file"),
    "the weights alone": (lambda m: m["model.weights.h5"], "not a zip file"),
    "a bomb": (
        lambda m: packed({**m, "model.weights.h5": bytes(10 * MEGABYTE)}, zipfile.ZIP_DEFLATED),
        "expected ['config.json'",
    ),
    "half an archive": (lambda m: packed(m)[: len(packed(m)) // 2], "not a zip file"),
    "a flipped bit of a weight": (flip_a_weight, "the checksum of model.weights.h5 does not match"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_a_file_that_is_no_archive_of_a_model_is_refused(folder: Path, members: Members, case: str) -> None:
    make, named = CONTENTS[case]
    with little_memory(64 * MEGABYTE):
        content = make(members)
    assert named in refused_model(folder, content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_is_refused(folder: Path, members: Members) -> None:
    buffer = io.BytesIO(packed(members))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("config.json", "{}")
    assert "it holds ['config.json', 'config.json'" in refused_model(folder, buffer.getvalue())


def test_code_in_a_model_is_not_run(folder: Path, tmp_path: Path) -> None:
    assert "Lambda" in refused_model(folder, lambda_model(tmp_path))


@pytest.mark.parametrize("change", NO_FILES)
def test_a_model_that_is_no_file_is_refused(folder: Path, change: Callable[[Path], None]) -> None:
    path = Path("models/core.keras")
    path.touch()
    change(path)
    assert refused(lambda: networks.load(path)).startswith("models/core.keras: ")


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
@settings(examples, max_examples=25)
def test_no_bit_of_a_model_changes_its_predictions_unnoticed(
    tmp_path: Path, members: Members, place: float, bit: int
) -> None:
    path, content = tmp_path / "network.keras", bytearray(packed(members))
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    found: list[np.ndarray] = []
    line = line_of(lambda: found.append(predicted(path)))
    if line is None:
        path.write_bytes(packed(members))
        np.testing.assert_array_equal(found[0], predicted(path))


@given(st.integers(0, 10_000), st.none() | json_values, st.booleans())
@settings(examples, max_examples=25)
def test_whatever_a_config_says_is_a_network_or_refused(
    tmp_path: Path, members: Members, place: int, value: object, drop: bool
) -> None:
    config = json.loads(members["config.json"])
    change_a_place(config, place, value, drop)
    path = tmp_path / "network.keras"
    path.write_bytes(packed({**members, "config.json": json.dumps(config).encode()}))
    found: list[keras.Model] = []
    line = line_of(lambda: found.append(networks.load(path)))
    if line is not None:
        assert line.startswith(f"{path}: not a Keras model: ")
    elif found[0].input_shape == (None, 16, 16, 3):  # a learner refuses any other
        assert found[0](IMAGES, training=False).shape == (2, 16, 16, 1)
