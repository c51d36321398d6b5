"""What a score has to be recorded with, so that two of them can be told to have asked the same."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any


def doc_sha256(samples: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 over the hashes of a task's items in their order, each once, however many filters it went through."""
    hashes = {int(sample["doc_id"]): str(sample["doc_hash"]) for sample in samples}
    return hashlib.sha256("\n".join(hashes[doc_id] for doc_id in sorted(hashes)).encode()).hexdigest()


def template_sha256(template: object) -> str | None:
    """SHA-256 of a tokenizer's chat template; a table of templates, as some models have, counts as a whole."""
    if not template:
        return None
    text = template if isinstance(template, str) else repr(template)
    return hashlib.sha256(text.encode()).hexdigest()
