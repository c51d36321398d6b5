"""The script that measures on a GPU runs part by part on anything, goes on where it stopped, and prints what it has."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "benchmarks" / "gpu"
POINTS = {"speed": 13, "memory": 4, "guide": 5}
"""Of each quick part with tiny shapes."""


def script(*arguments: object) -> str:
    """What the script says; it has to end well."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """The script's own modules."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    monkeypatch.syspath_prepend(str(SCRIPT))
    return pytest.importorskip


def test_parts_measure_every_point_once_and_are_done(tmp_path: Path) -> None:
    call = (*POINTS, "--shapes", "tiny", "--save", tmp_path)
    said = script(*call)

    first = {part: lines(tmp_path / f"{part}.jsonl") for part in POINTS}
    again = script(*call, "--table")
    for part, found in first.items():
        assert len({row["name"] for row in found}) == len(found) == POINTS[part]
        assert [row["name"] for row in found if "error" in row["values"]] == []
        assert {"torch", "transformers", "date", "device", "matrix_product"} <= found[0]["machine"].keys()
        assert f"{part}: nothing is left." in said
        assert f"{part}: nothing is left." in again
        assert lines(tmp_path / f"{part}.jsonl") == found
    tables = again[again.index("## ") :]
    assert tables.count("\n| 1B") + tables.count("\n| 70B") == sum(POINTS.values()) - 1, "and one profile"
    assert again.count("\n## ") + again.startswith("## ") == len(POINTS)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["correct", "tests"])
def test_a_long_part_ends_without_an_error(part: str, tmp_path: Path) -> None:
    script(part, "--shapes", "tiny", "--save", tmp_path)

    found = lines(tmp_path / f"{part}.jsonl")
    assert [row["name"] for row in found if "error" in row["values"]] == []
    assert [row["name"] for row in found if row["values"].get("ok") is False] == []


@pytest.mark.slow
def test_a_study_is_run_whole(tmp_path: Path, shared_data: Path) -> None:
    script("study", "--shapes", "tiny", "--save", tmp_path, "--data", shared_data)

    found = {row["name"]: row["values"] for row in lines(tmp_path / "study.jsonl")}
    assert [name for name, values in found.items() if "error" in values] == []
    assert found["whole study"]["report"]
    assert found["makespan/glued/0"]["scores"].keys() == found["makespan/lanes"]["scores"].keys()


def test_a_point_is_begun_only_where_it_fits_and_only_once(tmp_path: Path, modules) -> None:
    points = modules("points")
    begun = []

    def point(name: str, expected: float) -> object:
        return points.Point(name, expected, lambda: begun.append(name) or {"rate": 1.0})

    def call() -> int:
        ledger = points.Ledger(tmp_path / "part.jsonl", {"device": "toy"})
        return points.run([point("long", 1000.0), point("short", 1.0)], ledger, points.Budget(10.0))

    assert call() == 1
    assert call() == 1
    assert begun == ["short"]


def test_what_another_device_measured_is_measured_here_again(tmp_path: Path, modules) -> None:
    points = modules("points")
    ledgers = [points.Ledger(tmp_path / "part.jsonl", {"device": name}) for name in ("one", "other")]
    wanted = [points.Point("same", 1.0, lambda: {"rate": 1.0})]

    for ledger in ledgers:
        points.run(wanted, ledger, points.Budget(10.0))

    assert [row.machine["device"] for row in points.read(tmp_path / "part.jsonl")] == ["one", "other"]


def test_an_error_is_a_row_and_is_measured_again_only_when_asked(tmp_path: Path, modules) -> None:
    points = modules("points")
    ledger = points.Ledger(tmp_path / "part.jsonl", {"device": "toy"})

    def broken() -> dict:
        raise ValueError("no such kernel\nfound on this device")

    for retry in (False, False, True):
        points.run([points.Point("broken", 1.0, broken)], ledger, points.Budget(10.0), retry=retry)

    errors = [row.values["error"] for row in points.read(tmp_path / "part.jsonl")]
    assert errors == ["ValueError: no such kernel … found on this device"] * 2


def test_running_out_of_memory_is_a_result_and_is_not_tried_again(tmp_path: Path, modules) -> None:
    points = modules("points")
    ledger, tries = points.Ledger(tmp_path / "part.jsonl", {"device": "toy"}), []

    def full() -> dict:
        tries.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    for _ in range(2):
        points.run([points.Point("full", 1.0, full)], ledger, points.Budget(10.0), retry=True)

    assert len(tries) == 1
    assert points.outcome(ledger.rows[0].values) == "out of memory"


def test_a_model_quantized_as_it_is_drawn_is_the_one_that_is_loaded_in_four_bits(tmp_path: Path, modules) -> None:
    from evals.models.load import keep_unpacked, load_model
    from evals.spec import ModelSpec, QuantizationSpec

    drawn = modules("drawn_models")
    cpu, size = torch.device("cpu"), drawn.TINY["0.5B"]
    whole, packed = (drawn.build(size, kept, cpu, dtype=torch.bfloat16) for kept in ("16-bit", "4-bit"))
    drawn.save(whole, tmp_path)
    spec = ModelSpec(model_name_or_path=str(tmp_path), dtype="bfloat16")

    loaded = load_model(spec, cache=tmp_path, device=cpu, quantization=QuantizationSpec())
    keep_unpacked(loaded)

    expected = dict(loaded.named_parameters())
    found = dict(packed.named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    assert any(weight.dtype == torch.uint8 for weight in found.values())
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.equal(packed(ids).logits, loaded.eval()(ids).logits)


def test_sizes_are_those_that_they_are_named_after(modules) -> None:
    drawn = modules("drawn_models")

    for name, size in drawn.REAL.items():
        billions = sum(weight.numel() for weight in drawn.skeleton(size).parameters()) / 1e9
        assert billions == pytest.approx(float(name.removesuffix("B")), rel=0.25)
        assert size.parameters / 1e9 == pytest.approx(billions, rel=1e-3)


def test_the_knee_is_the_fewest_lanes_that_are_as_fast_as_any(modules) -> None:
    points, speed = modules("points"), modules("speed")
    rates = {"lanes-1": 10.0, "lanes-4": 39.5, "lanes-16": 40.0, "lanes-32": 20.0, "lanes-auto": 90.0, "trl": 5.0}
    rows = [points.Row(f"1B/lora/1x256/{way}", {"tokens_per_second": rate}, 1.0, "", {}) for way, rate in rates.items()]

    assert speed.knee_of(rows, "1B/lora/1x256") == 4
    assert speed.knee_of(rows, "8B/lora/1x256") is None


def test_estimates_of_memory_are_judged_by_their_marks(modules) -> None:
    points, memory = modules("points"), modules("memory")

    def judged(*errors: float) -> str:
        rows = [points.Row(f"a/{error}", {"error_share": error}, 1.0, "", {}) for error in errors]
        return memory.table(rows)

    assert "the marks are met" in judged(*[0.05] * 9, 0.5)
    assert "the marks are missed" in judged(*[0.05] * 9, -0.25)
    assert "the marks are missed" in judged(*[0.05] * 8, 0.5, 0.5)


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "matrix products"),
        ("nvjet_tst_192x192_64x4_2x1_v_bz_coopB_TNT", "matrix products"),
        ("void flash::flash_fwd_kernel<Flash_fwd_kernel_traits>", "attention"),
        ("void kDequantizeBlockwise<__nv_bfloat16, 512, 64, 8, 2>", "4-bit"),
        ("void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor>", "optimizer and clipping"),
        ("void at::native::(anonymous namespace)::CatArrayBatchedCopy", "copies and gathers"),
        ("Memcpy DtoD (Device -> Device)", "copies and gathers"),
        ("void at::native::vectorized_elementwise_kernel<4, silu>", "element by element"),
        ("aten::bmm", "batched products"),
        ("aten::mm", "matrix products"),
    ],
)
def test_kernels_are_sorted_by_what_they_are_for(kernel: str, kind: str, modules) -> None:
    assert modules("profiling").kind_of(kernel) == kind
