"""Places of workers on machines that this one is not: by lists of device files, texts of nvidia-smi, environments."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from qmgen.errors import UsageError
from qmgen.pipeline import layout
from qmgen.pipeline.layout import ANY_CORE, CoreLocks, Hardware, of_files, of_smi, visible

SMI = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaa)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbb)
  MIG 3g.20gb     Device  0: (UUID: MIG-b0)
  MIG 3g.20gb     Device  1: (UUID: MIG-b1)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-ccc)
"""
FILES = ("null", "nvidia0", "nvidia1", "nvidia10", "nvidia-uvm", "nvidiactl", "nvidia-caps")
THREE = Hardware(of_files(FILES))
CUDA = "CUDA_VISIBLE_DEVICES"


def environments(
    devices: str,
    workers: int | None = None,
    units: int = 100,
    env: Mapping[str, str] | None = None,
    there: Hardware = THREE,
) -> list[Mapping[str, str]]:
    places = layout.layout(workers, devices, units, (env or {}, there))
    assert all(place.core == ANY_CORE and not place.one_thread for place in places)
    return [place.environment for place in places]


def test_gpus_are_found_by_file_and_by_name() -> None:
    assert THREE.nvidia == (("0",), ("1",), ("2",))
    assert of_files(("nvidia3",)) == (("0",),)  # all that this container has is its device 0
    assert of_files(("null", "nvidiactl", "nvidia-uvm")) == ()
    assert of_smi(SMI) == (("GPU-aaa",), ("MIG-b0", "MIG-b1"), ("GPU-ccc",))
    assert of_smi("No devices were found\n") == of_smi("") == ()


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("2,0", ("2", "0")),
        (" 1 , 2 ", ("1", "2")),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("1,3,0", ("1",)),  # CUDA reads up to the first that is not there
        ("0,0", ("0",)),
        ("GPU-aaa,MIG-b0", ("GPU-aaa", "MIG-b0")),
        ("MIG-GPU-aaa/7/0", ("MIG-GPU-aaa/7/0",)),
    ],
)
def test_a_list_that_is_set_is_never_widened(listed: str, names: tuple[str, ...]) -> None:
    assert visible({CUDA: listed}, THREE) == (CUDA, names)


def test_amd_has_two_filters() -> None:
    four = Hardware(amd=4)
    assert visible({}, four) == ("HIP_VISIBLE_DEVICES", ("0", "1", "2", "3"))
    assert visible({"ROCR_VISIBLE_DEVICES": "2,3"}, four) == ("ROCR_VISIBLE_DEVICES", ("2", "3"))
    both = {"ROCR_VISIBLE_DEVICES": "1,2,3", "HIP_VISIBLE_DEVICES": "2,0,3"}
    assert visible(both, four) == ("HIP_VISIBLE_DEVICES", ("2", "0"))
    assert environments("all", there=Hardware(amd=2)) == [{"HIP_VISIBLE_DEVICES": "0"}, {"HIP_VISIBLE_DEVICES": "1"}]


def test_amd_is_counted_by_the_driver(tmp_path: Path) -> None:
    for node, gpu in enumerate(("0\n", "34113\n", "0\n", "2203\n")):
        (tmp_path / str(node)).mkdir()
        (tmp_path / str(node) / "gpu_id").write_text(gpu)
    (tmp_path / "4").mkdir()  # its number is kept from us
    assert layout._amd(tmp_path) == 2 and layout._amd(tmp_path / "none") == 0


def test_one_process_per_gpu() -> None:
    assert environments("all") == [{CUDA: "0"}, {CUDA: "1"}, {CUDA: "2"}]
    assert environments("0,2") == [{CUDA: "0"}, {CUDA: "2"}]
    assert environments("all", units=2) == [{CUDA: "0"}, {CUDA: "1"}]
    mig = Hardware(of_smi(SMI))
    assert [one[CUDA] for one in environments("all", there=mig)] == ["GPU-aaa", "MIG-b0", "MIG-b1", "GPU-ccc"]
    assert environments("MIG-b1,0", there=mig) == [{CUDA: "MIG-b1"}, {CUDA: "GPU-aaa"}]


def test_numbers_count_within_the_list_that_is_set() -> None:
    narrowed = {CUDA: "2,1"}
    assert environments("all", env=narrowed) == [{CUDA: "2"}, {CUDA: "1"}]
    assert environments("1", env=narrowed) == [{CUDA: "1"}]
    with pytest.raises(UsageError, match=r"there is no 2; 2 GPUs are visible here: 0 to 1$"):
        environments("2", env=narrowed)


def test_several_processes_share_the_memory_of_a_gpu() -> None:
    share = "XLA_PYTHON_CLIENT_MEM_FRACTION"
    found = environments("0,1", workers=2)
    assert found == [{CUDA: name, share: "0.450"} for name in ("0", "1", "0", "1")]
    assert environments("0,1", workers=3, units=2) == [{CUDA: "0"}, {CUDA: "1"}]  # there is only one on each
    assert environments("0", workers=3, env={share: "0.2"}) == [{CUDA: "0"}] * 3  # the user has said how much
    assert sum(float(one[share]) for one in environments("0", workers=7)) <= 0.91


@pytest.mark.parametrize(
    ("asked", "env", "there", "message"),
    [
        ("all", {}, Hardware(), "no GPU is visible here.*or say --devices cpu"),
        ("0", {CUDA: ""}, THREE, "no GPU is visible here"),
        ("5", {}, THREE, "there is no 5; 3 GPUs are visible here: 0 to 2"),
        ("1", {}, Hardware((("0",),)), "there is no 1; 1 GPU is visible here: number 0"),
        ("GPU-zzz", {}, Hardware(of_smi(SMI)), "there is no GPU-zzz"),
        ("gpu", {}, THREE, "say all, cpu, or numbers"),
        ("0,", {}, THREE, "say all, cpu, or numbers"),
        ("-1", {}, THREE, "say all, cpu, or numbers"),
        ("0,0", {}, THREE, "0 stands twice; --workers 2"),
        ("all", {"JAX_PLATFORMS": "cpu"}, THREE, "JAX_PLATFORMS=cpu keeps jax from GPUs; unset it"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(asked: str, env: dict[str, str], there: Hardware, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        environments(asked, env=env, there=there)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"--devices {asked}: ")


def test_on_the_cpu_whatever_else_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("qmgen.pipeline.layout.directory", lambda: tmp_path / "cores")
    monkeypatch.setattr(layout, "usable_cores", lambda: (2, 3, 5))
    monkeypatch.setattr(layout, "granted_cpus", lambda: 2)
    monkeypatch.setattr(layout, "on_accelerator", lambda: True)
    chosen = layout.layout(None, "cpu", 8)
    assert chosen == (layout.WorkerPlace(ANY_CORE, {"JAX_PLATFORMS": "cpu"}, one_thread=True),) * 2
    with CoreLocks() as other, CoreLocks() as claims:
        assert other.take((2,), 1) == (2,)
        four = layout.pinned(layout.layout(4, "cpu", 8), claims)
        assert [place.core for place in four] == [3, 5, ANY_CORE, ANY_CORE]


def test_without_a_word_one_process_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "on_accelerator", lambda: True)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    assert layout.layout(None, None, 8) == (layout.WorkerPlace(),)
    two = layout.layout(2, None, 8)
    assert [place.environment for place in two] == [{"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"}] * 2
    monkeypatch.setattr(layout, "on_accelerator", lambda: False)
    assert all(not place.environment for place in layout.layout(2, None, 8))


def test_a_jax_without_gpus_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.delenv(CUDA, raising=False)
    monkeypatch.setattr(layout, "hardware", lambda: THREE)
    monkeypatch.setattr(layout, "has_plugin", lambda: False)
    with pytest.raises(UsageError, match="this jax knows no GPU"):
        layout.layout(None, "all", 8)


def test_this_machine_is_looked_at_without_jax() -> None:
    before = "jax" in sys.modules
    assert isinstance(layout.hardware(), Hardware)
    assert ("jax" in sys.modules) == before
