"""Memory of known models, worked out by hand."""

import pytest
from shapes import llama_shape

from evals.spec import ModelSpec, QuantizationSpec
from sweep.plan.fit import UNKNOWN_ROWS
from sweep.plan.memory import estimate, four_bit_bytes, trainable_parameters, weight_bytes
from sweep.shape import RowLengths
from sweep.spec import MethodSpec, PeftSpec, TrainingSpec

MODEL = ModelSpec(model_name_or_path="toy")
LLAMA_8B = llama_shape(4096, 14336, 32, 32, 8, 128256, tied=False)
LLAMA_70B = llama_shape(8192, 28672, 80, 64, 8, 128256, tied=False)
TRAINING = TrainingSpec(per_device_train_batch_size=1, gradient_checkpointing=True)
ROWS = RowLengths(rows=1000, tokens=1_024_000, longest=1024, learned=200_000, longest_learned=400)
LORA = MethodSpec(kind="lora", peft=PeftSpec(lora_r=16), training=TRAINING)
QLORA = MethodSpec(kind="qlora", peft=PeftSpec(lora_r=16), load_in_4bit=True, training=TRAINING)
FULL = MethodSpec(kind="full", training=TRAINING)


def test_parameters_are_those_of_the_published_models() -> None:
    assert LLAMA_8B.total_parameters == 8_030_261_248
    assert LLAMA_70B.total_parameters == 70_553_706_496


def test_weights_are_held_in_what_the_method_keeps_them_in() -> None:
    # 8.03e9 weights: 2 bytes frozen in bfloat16, 4 bytes trained.
    assert weight_bytes(MODEL, LORA, LLAMA_8B) == 2 * 8_030_261_248
    assert weight_bytes(MODEL, FULL, LLAMA_8B) == 4 * 8_030_261_248


def test_a_4_bit_weight_takes_half_a_byte_and_its_share_of_constants() -> None:
    # 65,536 weights: 32,768 bytes, 1,024 blocks of 64; nested: a byte each and 4 float32 constants; else 4 bytes each.
    assert four_bit_bytes(65536, nested=True) == 32768 + 1024 + 4 * 4
    assert four_bit_bytes(65536, nested=False) == 32768 + 4096


def test_a_70b_model_in_4_bits_takes_about_40_gigabytes() -> None:
    # 80 layers x 855,638,016 = 68.45e9 weights at 0.51587 bytes, 35.3 GB; 2 x 128,256 x 8,192 at 2 bytes, 4.2 GB.
    assert weight_bytes(MODEL, QLORA, LLAMA_70B) / 1e9 == pytest.approx(35.31 + 4.20, abs=0.05)
    plain = QLORA.model_copy(update={"quantization": QuantizationSpec(use_bnb_nested_quant=False)})
    assert weight_bytes(MODEL, plain, LLAMA_70B) / 1e9 == pytest.approx(38.50 + 4.20, abs=0.05)


def test_training_a_70b_model_in_4_bits_takes_less_than_48_gigabytes() -> None:
    needed = estimate(MODEL, QLORA, LLAMA_70B, ROWS, "cuda")

    # QLoRA (arXiv 2305.14314) trains 65B on one GPU of 48 GB.
    assert 40e9 < needed.peak.expected < 48e9


def test_an_adapters_size_is_its_rank_times_both_widths() -> None:
    # 8B: 32 layers x 16 x (4096+4096 + 2 x (4096+1024) + 4096+4096 + 3 x (4096+14336)) = 41,943,040, as PEFT prints.
    assert trainable_parameters(LORA, LLAMA_8B) == 41_943_040


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("method", [LORA, QLORA, FULL])
def test_the_peak_is_between_what_stays_and_the_sum_of_all_parts(method: MethodSpec, device: str) -> None:
    needed = estimate(MODEL, method, LLAMA_8B, ROWS, device)

    assert needed.peak.low <= needed.peak.expected <= needed.peak.high
    assert needed.peak.expected <= sum(part.expected for part in needed.parts.values()) * 1.001
    assert needed.peak.low >= needed.parts["weights"].low


def test_checkpoints_and_smaller_batches_need_less() -> None:
    wide = LORA.model_copy(update={"training": TrainingSpec(per_device_train_batch_size=8)})
    narrow = LORA.model_copy(update={"training": TrainingSpec(per_device_train_batch_size=1)})
    checkpointed = LORA.model_copy(
        update={"training": TrainingSpec(per_device_train_batch_size=8, gradient_checkpointing=True)}
    )

    peaks = [estimate(MODEL, method, LLAMA_8B, ROWS, "cuda").peak.expected for method in (wide, narrow, checkpointed)]
    assert peaks[0] > max(peaks[1:])


def test_rows_that_nothing_is_known_of_may_be_as_long_as_allowed_and_need_not_be_long() -> None:
    method = LORA.model_copy(update={"training": TrainingSpec(per_device_train_batch_size=8, max_length=1024)})
    unknown = estimate(MODEL, method, LLAMA_8B, UNKNOWN_ROWS, "cuda").parts["activations"]
    known = estimate(MODEL, method, LLAMA_8B, ROWS, "cuda").parts["activations"]

    assert unknown.expected == known.expected
    assert unknown.low == 0


@pytest.mark.parametrize("method", [LORA, QLORA, FULL])
def test_a_part_of_weights_gradients_and_moments_but_all_activations_are_in_each_process(method: MethodSpec) -> None:
    training = method.training.model_copy(update={"optim": "adamw_torch"})
    whole = estimate(MODEL, method.model_copy(update={"training": training}), LLAMA_70B, ROWS, "cuda")
    divided = training.model_copy(update={"num_processes": 8})
    part = estimate(MODEL, method.model_copy(update={"training": divided}), LLAMA_70B, ROWS, "cuda")

    for name in ("weights", "adapters", "gradients", "optimizer"):
        assert part.parts[name].expected == pytest.approx(whole.parts[name].expected / 8)
    for name in ("activations", "logits", "overhead"):
        assert part.parts[name] == whole.parts[name]
    assert part.peak.expected < whole.peak.expected / 3


def test_processes_of_one_cpu_share_its_memory() -> None:
    pair = {"training": TRAINING.model_copy(update={"num_processes": 2})}
    for method, readers in ((LORA, 1), (QLORA, 2)):
        whole = estimate(MODEL, method, LLAMA_70B, ROWS, "cpu")
        parts = estimate(MODEL, method.model_copy(update=pair), LLAMA_70B, ROWS, "cpu")

        assert parts.parts["weights"].expected == pytest.approx(whole.parts["weights"].expected)
        assert parts.parts["overhead"].expected == 2 * whole.parts["overhead"].expected
        # In 4 bits each process reads the whole base model before it keeps a part of it.
        assert parts.peak.expected > readers * whole.parts["weights"].expected
