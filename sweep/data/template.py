"""Render rows as the text that the model reads: through its chat template, or plainly.

A completion is whatever the template writes after the prompt: the answer, the end-of-turn marker and what follows it.
That needs the rendered prompt to be the beginning of the whole rendered conversation, which is checked for each row.
Where nothing follows the answer, the end-of-sequence token is put there, or a model would never learn to stop.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from evals.models.bounded import BoundsError, bounded
from sweep.data.rows import Message, Row, UnfitError, quoted
from sweep.errors import DataError
from sweep.spec import DataSpec

if TYPE_CHECKING:
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase


RENDER_SECONDS = 120.0
"""For a batch of rows; the templates in use take a millisecond a row."""
RENDER_BYTES = 2**30
UNFIT, BROKEN = "unfit", "broken"


@dataclass(frozen=True, slots=True)
class Rendered:
    """One row as text."""

    prompt: str
    completion: str


def uses_template(spec: DataSpec, shape: str, tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether rows are rendered through the chat template. Raises DataError where the study cannot have it so."""
    check_template_policy(spec, shape)
    has_template = bool(tokenizer.chat_template)
    if shape == "text" or spec.apply_chat_template is False:
        return False
    needed = "data.apply_chat_template" if spec.apply_chat_template else "messages" if shape == "messages" else ""
    needed = needed or ("data.system" if spec.system is not None else "")
    if needed and not has_template:
        raise DataError(
            f"{needed}: this model's tokenizer has no chat template. Use an instruct model, or plain prompts."
        )
    return has_template


def check_template_policy(spec: DataSpec, shape: str) -> None:
    """Raise DataError for a policy that no tokenizer can follow."""
    plain = shape == "text" or spec.apply_chat_template is False
    if shape == "text" and spec.apply_chat_template:
        raise DataError("data.apply_chat_template: rows of plain text are learned as they are. Leave this key out.")
    if shape == "messages" and plain:
        raise DataError("data.apply_chat_template: conversations need the chat template. Leave this key out.")
    if spec.system is not None and plain:
        raise DataError(
            "data.system: a system message needs the chat template, which these rows do not use. Leave it out."
        )


def render_all(
    rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase", *, file: str, template: bool, system: str | None
) -> list[Rendered | UnfitError]:
    """Each row as text, or why it cannot be rendered. Raises DataError where the template breaks prompts.

    A chat template is a program that came with the model, and is given so much time and memory.
    """
    if not template:
        return [_outcome(partial(_render_plain, row, tokenizer)) for row in rows]

    def work() -> list[tuple[str, str, str]]:
        try:
            found = [_outcome(partial(_render_chat, row, tokenizer, file=file, system=system)) for row in rows]
        except DataError as error:
            return [(BROKEN, str(error), "")]
        return [
            (UNFIT, str(one), "") if isinstance(one, UnfitError) else ("", one.prompt, one.completion) for one in found
        ]

    try:
        answers = bounded(work, seconds=RENDER_SECONDS, memory_bytes=RENDER_BYTES)
    except BoundsError as error:
        raise DataError(
            f"{file}: this model's chat template fails on the rows from {rows[0].number} to {rows[-1].number}: "
            f"{error}. Set data.apply_chat_template: false, or use another model."
        ) from error
    if answers and answers[0][0] == BROKEN:
        raise DataError(answers[0][1])
    return [UnfitError(text) if kind == UNFIT else Rendered(text, rest) for kind, text, rest in answers]


def _outcome(rendering: Callable[[], Rendered]) -> Rendered | UnfitError:
    try:
        return rendering()
    except UnfitError as error:
        return error


def _render_plain(row: Row, tokenizer: "PreTrainedTokenizerBase") -> Rendered:
    end: str = tokenizer.eos_token or ""
    if row.plain is None:
        raise UnfitError("a list of messages needs a chat template")
    return Rendered(row.plain, row.answer if end and row.answer.endswith(end) else row.answer + end)


def end_of_turn(
    rendered: Sequence[Rendered], answers: Sequence[str], tokenizer: "PreTrainedTokenizerBase"
) -> tuple[str, ...]:
    """Strings that end an answer: what the template writes after one, and the end-of-sequence token."""
    ends = []
    if rendered:
        _, answer, after = rendered[0].completion.rpartition(answers[0].strip())
        ends += after.split()[:1] if answer else []
    return tuple(dict.fromkeys([*ends, *([tokenizer.eos_token] if tokenizer.eos_token else [])]))


def _render_chat(row: Row, tokenizer: "PreTrainedTokenizerBase", *, file: str, system: str | None) -> Rendered:
    end: str = tokenizer.eos_token or ""
    before = _with_system(row.turns, system)
    prompt = _apply(before, tokenizer, add_generation_prompt=True)
    whole = _apply([*before, {"role": "assistant", "content": row.answer}], tokenizer, add_generation_prompt=False)
    if not whole.startswith(prompt):
        raise DataError(
            f"{file}:{row.number}: this model's chat template renders the prompt alone differently from the prompt "
            f"within the conversation, so no completion can be told apart: the prompt ends in {quoted(prompt[-40:])}. "
            "Set data.apply_chat_template: false, or use a model whose template keeps prompts as they are."
        )
    completion = whole[len(prompt) :]
    # Some templates trim or re-wrap an answer; one that drops words would teach something else than the user wrote.
    if "".join(row.answer.split()) not in "".join(completion.split()):
        raise UnfitError("the chat template leaves out a part of the answer")
    return Rendered(prompt, completion + end if completion.rstrip().endswith(row.answer.rstrip()) else completion)


def _with_system(turns: Sequence[Message], system: str | None) -> list[Mapping[str, str]]:
    messages: list[Mapping[str, str]] = [{"role": turn.role, "content": turn.content} for turn in turns]
    if system is None or any(turn.role == "system" for turn in turns):
        return messages
    return [{"role": "system", "content": system}, *messages]


def _apply(
    messages: Sequence[Mapping[str, str]], tokenizer: "PreTrainedTokenizerBase", *, add_generation_prompt: bool
) -> str:
    from jinja2 import TemplateError

    try:
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    # A template is a program of the model's author, and fails on some rows as any program may.
    except (
        TemplateError,
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise UnfitError(f"the chat template refuses it: {quoted(str(error))}") from error
    return str(rendered)
