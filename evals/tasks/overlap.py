"""How much of the expected text is in an answer: chrF and ROUGE-L, both from 0 to 1.

chrF is sacrebleu's (character n-grams up to 6, recall counting twice, white space left out). ROUGE-L is rouge_score's
without a stemmer, but words are words in any script: rouge_score itself drops whatever is not ASCII. Torch-free.
"""

import re
from collections import Counter
from functools import lru_cache

LONGEST_NGRAM = 6
BETA_SQUARED = 4.0
"""Recall weighs beta = 2 times as much as precision."""
WORD = re.compile(r"[^\W_]+")
KEPT = 256
"""Texts whose n-grams are remembered: the same constant answers are compared with every row."""


def chrf(expected: str, answer: str) -> float:
    """Character n-gram F score (Popović 2015), averaged over the lengths that both texts have."""
    precisions: list[float] = []
    recalls: list[float] = []
    for theirs, ours in zip(_ngrams(expected), _ngrams(answer), strict=False):
        shared = (ours & theirs).total()
        precisions.append(shared / ours.total())
        recalls.append(shared / theirs.total())
    if not any(precisions):
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)


def rouge_l(expected: str, answer: str) -> float:
    """F1 over the longest common subsequence of words (Lin 2004)."""
    wanted, given = WORD.findall(expected.casefold()), WORD.findall(answer.casefold())
    shared = _common_subsequence(wanted, given)
    return 2 * shared / (len(wanted) + len(given)) if shared else 0.0


@lru_cache(KEPT)
def _ngrams(text: str) -> tuple[Counter[str], ...]:
    """Counts of each length of n-gram that the text is long enough for."""
    characters = "".join(text.split())
    sizes = range(1, min(LONGEST_NGRAM, len(characters)) + 1)
    return tuple(
        Counter(characters[start : start + size] for start in range(len(characters) - size + 1)) for size in sizes
    )


def _common_subsequence(left: list[str], right: list[str]) -> int:
    """Length of the longest common subsequence, a row of the table in the bits of one number (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for index, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << index
    everywhere = (1 << len(left)) - 1
    row = everywhere
    for word in right:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & everywhere
    return len(left) - row.bit_count()
