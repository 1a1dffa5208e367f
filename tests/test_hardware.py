"""What the machine decides, and what the environment may say."""

import sys

import pytest

from stages import hardware
from stages.errors import UserError
from tests.project import ROOT, succeed


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ""])
def test_a_bad_number_of_threads_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINCORE_THREADS", text)
    with pytest.raises(UserError, match="TRAINCORE_THREADS") as caught:
        hardware.count_from_environment("TRAINCORE_THREADS")
    assert repr(text) in str(caught.value)


def test_all_cores_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINCORE_WORKERS", raising=False)
    assert hardware.count_from_environment("TRAINCORE_WORKERS") == hardware.cores() >= 1


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
    monkeypatch.setattr(hardware, "_cpuinfo", lambda key: flags)
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    assert hardware.precision_policy("auto") == policy


@pytest.mark.parametrize("wanted", ["float32", "mixed_bfloat16"])
def test_a_named_policy_is_taken_as_it_is(wanted: str) -> None:
    assert hardware.precision_policy(wanted) == wanted


@pytest.mark.parametrize(("wanted", "used"), [(None, "True"), ("0", "False")])
def test_tensorflow_has_its_fast_kernels_on_any_processor_unless_they_are_unwanted(
    wanted: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    script = (
        "from stages import hardware; hardware.set_up_tensorflow()\n"
        "from tensorflow.python.framework import test_util; print(test_util.IsMklEnabled())"
    )
    variables = {} if wanted is None else {"TF_ENABLE_ONEDNN_OPTS": wanted}
    assert succeed(ROOT, sys.executable, "-c", script, **variables).split() == [used]
