"""Flags that the stock tool lets take several words: `--tasks mmlu gsm8k` is `--tasks mmlu,gsm8k`.

A command line of ours takes one word a flag, so the words are joined before it is read.
"""

from collections.abc import Sequence

LISTS = frozenset({"--tasks", "-t", "--gen_kwargs", "--gen-kwargs"})


def join_lists(arguments: Sequence[str]) -> list[str]:
    """The same arguments with every list in one word.

    A list ends at the next flag. Where nothing stands before it that could be the model, its last word is the model.
    """
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


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not word[1:2].isdigit()


def _has_model(before: Sequence[str]) -> bool:
    """Whether a word stands right after the command."""
    return len(before) > 1 and not _is_flag(before[1])
