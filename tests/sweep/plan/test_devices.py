"""Devices as a machine tells of them: a program in NVIDIA's place, files in a control group's, and nothing at all."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sweep.environment import cpu_model
from sweep.errors import MachineError
from sweep.plan import devices as module
from sweep.plan.devices import MEBIBYTE, cpu, devices, gpus, grouped, largest, read_gpus
from sweep.shape import Device, Facts
from sweep.spec import MethodSpec, TrainingSpec

TWO = (
    "GPU-11111111-aaaa, 0, NVIDIA H100 80GB HBM3, 81559, 80000\n"
    "GPU-22222222-bbbb, 1, NVIDIA A100-SXM4-40GB, 40960, 1024\n"
)
H100 = Device("NVIDIA H100 80GB HBM3", "cuda", 81559 * MEBIBYTE, 80000 * MEBIBYTE)
A100 = Device("NVIDIA A100-SXM4-40GB", "cuda", 40960 * MEBIBYTE, 1024 * MEBIBYTE)


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Path:
    """Put a program in NVIDIA's place, alone on the PATH."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(body)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


def listing(text: str, code: int = 0) -> str:
    """A program that lists text, if it is asked for what it should be asked."""
    return (
        f"#!{sys.executable}\nimport sys\n"
        f"asked = ['--query-gpu=uuid,index,name,memory.total,memory.free', '--format=csv,noheader,nounits']\n"
        f"assert sys.argv[1:] == asked, sys.argv\nprint({text!r}, end='')\nsys.exit({code})\n"
    )


@pytest.fixture
def no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_all_gpus_are_listed_with_their_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, listing(TWO))

    assert devices() == (H100, A100)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (["1"], (A100,)),
        (["GPU-11111111-aaaa"], (H100,)),
        (["1", "0"], (H100, A100)),
        (["7"], ()),
        ([], ()),
    ],
)
def test_only_visible_gpus_count(
    visible: list[str], expected: tuple[Device, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, listing(TWO))

    assert gpus(visible) == expected
    assert {device.kind for device in devices(visible)} == ({"cuda"} if expected else {"cpu"})


@pytest.mark.usefixtures("no_gpu")
def test_without_nvidias_program_there_is_a_cpu() -> None:
    assert gpus() == ()
    assert [device.kind for device in devices()] == ["cpu"]


def test_a_driver_that_does_not_answer_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    install(tmp_path, monkeypatch, listing(failure, code=9))

    assert [device.kind for device in devices()] == ["cpu"]


def test_a_program_that_hangs_or_cannot_run_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = install(tmp_path, monkeypatch, f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.2)
    assert gpus() == ()

    program.write_text("#!/no/such/interpreter\n")
    assert gpus() == ()


def test_lines_that_tell_no_memory_are_passed_over() -> None:
    listed = (
        "\nnonsense\n"
        "GPU-3, 2, NVIDIA GB10, [N/A], [N/A]\n"
        "GPU-4, 3, NVIDIA T4, 15360, [Not Supported]\n"
        "GPU-5, 4, NVIDIA L4\n"
    )

    # What does not say how much is free is taken for free.
    assert read_gpus(listed, None) == (Device("NVIDIA T4", "cuda", 15360 * MEBIBYTE, 15360 * MEBIBYTE),)


def limit_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *contents: str | None) -> None:
    paths = tuple(tmp_path / f"limit-{place}" for place in range(len(contents)))
    for path, content in zip(paths, contents, strict=True):
        if content is not None:
            path.write_text(content)
    monkeypatch.setattr(module, "CGROUP_LIMITS", paths)


@pytest.mark.parametrize("contents", [("104857600\n", None), (None, "104857600\n"), ("max\n", "104857600")])
def test_a_control_groups_limit_is_all_the_memory_there_is(
    contents: tuple[str | None, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_files(tmp_path, monkeypatch, *contents)

    assert cpu() == Device(cpu_model(), "cpu", 104_857_600, 104_857_600)


@pytest.mark.parametrize("contents", [(None, None), ("max\n", None), ("max\n", "9223372036854771712\n"), ("", "")])
def test_without_a_limit_the_machines_memory_counts(
    contents: tuple[str | None, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_files(tmp_path, monkeypatch, *contents)
    found = cpu()

    assert found.memory_bytes == psutil.virtual_memory().total
    assert 0 < found.free_bytes <= found.memory_bytes


def test_the_largest_device_that_a_worker_may_have_is_reckoned_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, listing(TWO))
    facts = Facts(shape=None, device=A100)

    assert largest(facts, ["0", "1"]).device == H100
    # A worker that has one device, or none by name, has seen it itself.
    assert largest(facts, ["1"]).device == A100
    assert largest(facts, [None, None]).device == A100
    assert largest(Facts(shape=None, device=cpu()), ["0", "1"]).device.kind == "cpu"


def test_devices_are_found_without_torch() -> None:
    program = "import sys; from sweep.plan.devices import devices; devices(); sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def methods_of(**processes) -> dict[str, MethodSpec]:
    return {
        name: MethodSpec(kind="lora", training=TrainingSpec(num_processes=count)) for name, count in processes.items()
    }


def test_a_worker_gets_as_many_gpus_as_the_method_with_most_processes() -> None:
    assert grouped(["a", "b", "c"], methods_of(one=1, other=1)) == ("a", "b", "c")
    # The fifth makes up no pair.
    assert grouped(["a", "b", "c", "d", "e"], methods_of(one=1, other=2)) == ("a,b", "c,d")
    assert grouped([], methods_of(other=2)) == ()


def test_fewer_gpus_than_processes_are_refused() -> None:
    with pytest.raises(MachineError, match=r"methods\.big\.training\.num_processes: 4 processes .* there are 3\."):
        grouped(["a", "b", "c"], methods_of(small=1, big=4))
