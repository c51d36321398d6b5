"""`sweep eval` takes the stock tool's flags as that tool does: any spelling, and lists of several words.

A command line of ours takes one word a flag, so `--tasks mmlu gsm8k` becomes `--tasks mmlu,gsm8k` before it is read.
"""

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from evals.spec import OUR_TASKS, GenerationValue, TaskSpec
from sweep.errors import InputError

LISTS = frozenset({"--tasks", "-t", "--gen_kwargs", "--gen-kwargs"})


def join_lists(arguments: Sequence[str]) -> list[str]:
    """The arguments of `eval` with every list in one word; those of other commands as they are.

    A list ends at the next flag. Where nothing stands before it that could be the model, its last word is the model.
    """
    if arguments[:1] != ["eval"]:
        return list(arguments)
    joined: list[str] = []
    place = 0
    while place < len(arguments):
        joined.append(arguments[place])
        place += 1
        if joined[-1] not in LISTS:
            continue
        end = place
        while end < len(arguments) and not _is_flag(arguments[end]):
            end += 1
        words = list(arguments[place:end])
        is_last_the_model = len(words) > 1 and end == len(arguments) and not _has_model(joined[:-1])
        model = [words.pop()] if is_last_the_model else []
        joined += [",".join(words)] if words else []
        joined += model
        place = end
    return joined


def with_dashes(name: str) -> str:
    """An option's name however it is spelt: the stock tool's are joined by underscores, ours by dashes."""
    return name.replace("_", "-")


def task_of(
    name: str,
    num_fewshot: int | None,
    limit: float | None,
    generation: Mapping[str, GenerationValue],
    *,
    apply_chat_template: bool,
) -> TaskSpec:
    """A task as the flags ask for it. Raises InputError for a value that it cannot have."""
    try:
        return TaskSpec(
            task=name,
            num_fewshot=num_fewshot,
            limit=limit,
            apply_chat_template=apply_chat_template,
            # The user's own answers are greedy.
            gen_kwargs={} if name in OUR_TASKS else generation,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"--{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not word[1:2].isdigit()


def _has_model(before: Sequence[str]) -> bool:
    """Whether a word stands right after the command."""
    return len(before) > 1 and not _is_flag(before[1])
