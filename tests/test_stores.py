"""Sources in an object store: the same pairs as from a folder, and one line where the store does not answer."""

import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stages import export_core
from stages.pipeline import stores
from stages.pipeline.errors import StoreError
from stages.pipeline.stores import folder_at
from tests.cores import write_core
from tests.damage import refused
from tests.files import black_and_white, box, make_airbus, make_coco, make_folder, make_pairs, noise
from tests.project import ROOT, run
from tests.sets import same, tree
from tests.sources import drawn, opened, refusal
from tests.store import KEYS, BreakingProxy, client, forget, serving, upload


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits between tries."""
    monkeypatch.setattr(stores, "WAITS", (0.0, 0.0))


def mixed(folder: Path) -> Path:
    """Pairs in all formats, some of two pages."""
    images = {f"{name}.{name}": noise(40, 36, seed=seed) for seed, name in enumerate(("png", "jpg", "bmp", "webp"))}
    make_folder(folder, images, {f"{name.split('.')[0]}.png": black_and_white(40, 36) for name in images})
    pages = np.stack([noise(40, 36, seed=seed) for seed in (8, 9)])
    for kind, values in (("images", pages), ("masks", (pages[..., 0] > 127).astype(np.uint8))):
        colours = "rgb" if kind == "images" else "minisblack"
        tifffile.imwrite(folder / kind / "stack.tif", values, photometric=colours, compression="zlib")
    return folder


def ships(folder: Path) -> Path:
    return make_airbus(folder, 4, 32)


def objects(folder: Path) -> Path:
    polygon = {"image_id": 1, "category_id": 1, "segmentation": [box(2, 3, 20, 30)]}
    images = {f"photos/{name}.jpg": noise(32, 40, seed=seed) for seed, name in enumerate("ab")}
    return make_coco(folder, [polygon], images, {1: "road"})


@pytest.mark.parametrize(("name", "make"), [("folder", mixed), ("airbus", ships), ("coco", objects)])
def test_a_source_in_a_store_gives_the_pairs_of_the_same_files_on_a_disk(
    tmp_path: Path, bucket: str, name: str, make: Any
) -> None:
    here = make(tmp_path / "set")
    there = folder_at(upload(here, bucket, "some/set"))
    client().put_object(Bucket=bucket, Key="some/set/images/", Body=b"")  # as consoles make folders
    assert same(drawn(there, name=name), drawn(here, name=name))
    found, expected = (opened(folder, name=name, strict=False) for folder in (there, here))
    assert found.origins.files == expected.origins.files
    forget()  # as in another process
    again = pickle.loads(pickle.dumps(found))
    rows = range(1, found.layout.count)
    assert same(again.draw(rows), expected.draw(rows))


def test_a_web_server_that_knows_no_ranges_will_do(tmp_path: Path) -> None:
    here = make_pairs(tmp_path / "set", 3, height=300, width=200)
    forget()
    with serving(tmp_path / "log", "-m", "http.server", "0", "--bind=127.0.0.1", f"--directory={tmp_path}") as address:
        assert same(drawn(folder_at(f"{address}/set")), drawn(here))


def test_originals_are_copied_out_of_a_store(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ships(tmp_path / "ships")
    url = upload(tmp_path / "ships", bucket, "ships")
    source = opened(folder_at(url), name="airbus", image_size=32)
    monkeypatch.chdir(tmp_path)
    write_core(*source.draw(range(4)), rows=[1, 3], origins=source.origins, path=url, name="airbus")
    export_core.main(["originals", "--originals"])
    copies = tree(tmp_path / "originals")
    assert len(copies) == 3
    assert all(content == (tmp_path / "ships" / name).read_bytes() for name, content in copies.items() if "jpg" in name)


def test_a_connection_that_is_cut_once_is_made_again(tmp_path: Path, breaking: BreakingProxy, bucket: str) -> None:
    here = make_pairs(tmp_path, 2, height=64, width=64)
    there = folder_at(upload(here, bucket, "set"))
    breaking.target, breaking.left = b"/images/b.png", 1
    assert same(drawn(there, image_size=64), drawn(here, image_size=64))
    assert breaking.broken == 1


def test_a_connection_that_is_always_cut_ends_in_a_line_and_leaves_out_no_file(
    tmp_path: Path, breaking: BreakingProxy, bucket: str
) -> None:
    there = folder_at(upload(make_pairs(tmp_path, 3, height=64, width=64), bucket, "set"))
    breaking.target, breaking.left = b"/images/b.png", 10**6
    with pytest.raises(StoreError, match=rf"^s3://{bucket}/set/images/b\.png: cannot be read: [^\n]+$"):
        drawn(there, image_size=64, strict=False)
    assert breaking.broken > 3


def test_a_folder_that_is_not_there_is_refused(bucket: str) -> None:
    client().create_bucket(Bucket=bucket)
    for path in (f"s3://{bucket}/nothing", "s3://no-such-bucket/set"):
        assert refusal(folder_at(path)) == f"dataset.path is '{path}', allowed is a folder with images/* and masks/*"


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    said = refused(lambda: folder_at("https://me:secret@example.org/set"))
    assert "dataset.path holds a password" in said
    assert "secret" not in said
    assert str(folder_at("abfs://container@account/a:b@c")) == "abfs://container@account/a:b@c"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("gs://bucket/set", r"gs://bucket/set: .*gcsfs.*; `pip install 'dvc\[gs\]'` brings what is needed"),
        ("nosuch://bucket/set", r"nosuch://bucket/set: cannot be read: Protocol not known: nosuch"),
    ],
)
def test_a_protocol_without_its_package_ends_in_a_line(path: str, said: str) -> None:
    forget()
    with pytest.raises(StoreError, match=f"^{said}$"):
        drawn(folder_at(path))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "Could not connect to the endpoint URL: .http://127.0.0.1:1/"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Unable to locate credentials"),
    ],
)
def test_the_stage_ends_in_a_line_and_leaves_what_there_was(
    workspace: Path, change: Any, broken: dict[str, str], said: str
) -> None:
    change(**{"dataset.name": "folder", "dataset.path": "s3://bucket/set", "dataset.image_size": 16})
    (workspace / "data/train.zarr").mkdir(parents=True)
    (workspace / "data/train.zarr/zarr.json").write_text("an earlier one")
    before = tree(workspace)
    environment = {
        **KEYS,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "PYTHONPATH": str(ROOT),
        **broken,
    }
    ended = run(workspace, sys.executable, "-B", "-m", "stages.generate", "train", **environment)
    assert ended.returncode == 1
    assert re.fullmatch(rf"generate: s3://bucket/set: cannot be read: {said}[^\n]*\n", ended.stderr)
    assert tree(workspace) == before
