"""Small questions for the tiny model."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from judge_server import JudgeServer, judge_server

from evals.spec import AnswerType, OwnDataSpec, OwnRow

WriteOwn = Callable[..., OwnDataSpec]


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    """A judge to ask."""
    with judge_server() as server:
        yield server


def chat_row(number: int, question: str, answer: str) -> OwnRow:
    return OwnRow(
        row=number,
        prompt=f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
        completion=f"{answer}<|im_end|>\n",
        answer=answer,
        group=f"g{number % 2}",
    )


@pytest.fixture
def write_own(tmp_path: Path) -> WriteOwn:
    """Write (question, answer) pairs as held-out rows, and describe them."""

    def write(pairs: list[tuple[str, str]], answer: AnswerType, **settings: object) -> OwnDataSpec:
        path = tmp_path / "rows.jsonl"
        rows = [chat_row(number, *pair) for number, pair in enumerate(pairs, start=1)]
        path.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
        return OwnDataSpec.model_validate(
            {"rows": path, "answer": answer, "stop": ("<|im_end|>",), "max_new_tokens": 4, **settings}
        )

    return write
