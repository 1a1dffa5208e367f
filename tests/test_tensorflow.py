"""TensorFlow: the precision and the kernels that it takes by itself."""

import json
import platform
import sys
from pathlib import Path

import pytest

from stages.learning import tensorflow
from stages.learning.tensorflow import precision_policy, processor
from tests.project import ROOT, succeed


@pytest.mark.parametrize(
    ("flags", "policy"),
    [
        ("fpu avx512f avx512_bf16", "mixed_bfloat16"),
        ("fpu amx_bf16 amx_tile", "mixed_bfloat16"),
        ("fpu avx2 avx512f", "float32"),
        ("", "float32"),
    ],
)
def test_auto_takes_bfloat16_where_the_processor_has_it(
    flags: str, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorflow, "cpuinfo", lambda key: flags)
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    assert precision_policy("auto") == policy


@pytest.mark.parametrize("wanted", ["float32", "mixed_bfloat16"])
def test_a_named_policy_is_taken_as_it_is(wanted: str) -> None:
    assert precision_policy(wanted) == wanted


@pytest.mark.parametrize(("wanted", "used"), [(None, "True"), ("0", "False")])
def test_tensorflow_has_its_fast_kernels_on_any_processor_unless_they_are_unwanted(
    wanted: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    script = (
        "from stages.learning.tensorflow import set_up_tensorflow; set_up_tensorflow()\n"
        "from tensorflow.python.framework import test_util; print(test_util.IsMklEnabled())"
    )
    variables = {} if wanted is None else {"TF_ENABLE_ONEDNN_OPTS": wanted}
    assert succeed(ROOT, sys.executable, "-c", script, **variables).split() == [used]


def test_keras_starts_without_scikit_learn_which_others_may_import() -> None:
    script = (
        "from stages.learning.tensorflow import set_up_tensorflow; set_up_tensorflow()\n"
        "import keras, sys; print('sklearn' in sys.modules)\n"
        "import sklearn.neighbors; print(sklearn.neighbors.NearestNeighbors.__name__)"
    )
    assert succeed(ROOT, sys.executable, "-c", script).split() == ["False", "NearestNeighbors"]


def test_a_person_s_own_settings_of_keras_do_not_matter(tmp_path: Path) -> None:
    settings = {"image_data_format": "channels_first", "floatx": "float64", "epsilon": 1e-3, "backend": "jax"}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    script = (
        "from stages.pipeline.entry import run\n"
        "def main():\n"
        "    from stages.learning.tensorflow import set_up_tensorflow\n"
        "    set_up_tensorflow()\n"
        "    import keras\n"
        "    print(keras.config.backend(), keras.config.image_data_format(), keras.config.floatx(),"
        " keras.config.epsilon())\n"
        "run('test', main)"
    )
    for variables in ({"KERAS_HOME": str(tmp_path)}, {"KERAS_BACKEND": "jax"}):
        assert succeed(ROOT, sys.executable, "-c", script, **variables) == "tensorflow channels_last float32 1e-07\n"


@pytest.mark.parametrize(
    ("found", "named"),
    [(("CPU 9", "arm", "arm64"), "CPU 9"), (("", "arm", "arm64"), "arm"), (("", "", "arm64"), "arm64")],
)
def test_the_processor_has_a_name_on_any_system(
    found: tuple[str, str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    monkeypatch.setattr(tensorflow, "cpuinfo", lambda key: found[0])
    monkeypatch.setattr(platform, "processor", lambda: found[1])
    monkeypatch.setattr(platform, "machine", lambda: found[2])
    assert processor() == named
