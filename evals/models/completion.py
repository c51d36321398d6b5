"""One more kind of request beside lm-evaluation-harness's own: a completion's likelihood and its length in tokens.

The loss on the user's own data is made of these. Whatever backend answers, tokens are divided and counted here.
"""

from collections.abc import Sequence
from typing import Any

from evals.errors import TaskError

COMPLETION_REQUEST = "completion_loglikelihood"
"""Name of the request."""


class CompletionLikelihood:
    """Mixed into a model of lm-evaluation-harness's `TemplateLM` kind."""

    def completion_loglikelihood(self: Any, requests: Sequence[Any]) -> list[tuple[float, int]]:
        """What `loglikelihood` gives for each (prompt, completion), and how many tokens it was taken over."""
        counts = [self.count_completion_tokens(*request.args) for request in requests]
        answers = self.loglikelihood(requests)
        return [(logprob, count) for (logprob, _), count in zip(answers, counts, strict=True)]

    def count_completion_tokens(self: Any, prompt: str, completion: str) -> int:
        """Tokens that `loglikelihood` scores. Raises TaskError where the model cannot take that many.

        White space at the end of the prompt, such as a chat prompt's last line break, is scored with the completion;
        training has to divide rows there too. Without a prompt, the tokenizer's prefix token stands before the text.
        """
        if prompt:
            count = len(self._encode_pair(prompt, completion)[1])
        else:
            tokens = self.tok_encode(completion, add_special_tokens=False)
            count = len(tokens) - (tokens[:1] == [self.prefix_token_id])
        if not 0 < count <= self.max_length:
            raise TaskError(
                f"own: a completion of {count} tokens cannot be scored: this model takes 1 to {self.max_length}. Leave "
                f"the row out: {completion[:60]!r}."
            )
        return count
