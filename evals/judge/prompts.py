"""What a judge is asked, and how its verdict is read. The verdict's form is MT-Bench's (arXiv 2306.05685)."""

import re

PAIR_VERDICT = re.compile(r"\[\[([ABC])\]\]")
SCORE_VERDICT = re.compile(r"\[\[(10|[1-9])\]\]")

PAIR = """\
Two assistants answered the same request. Decide which answer serves the person who asked better: correct, relevant, \
complete and clear. Do not let the order of the answers, their length or the assistants' names decide.

[Request]
{question}

[Answer of assistant A]
{first}

[Answer of assistant B]
{second}

Give your reasons in a few sentences. Then end with your verdict: [[A]] if A is better, [[B]] if B is better, [[C]] \
for a tie."""

SCORE = """\
Grade how well an assistant's answer serves the person who asked: correct, relevant, complete and clear. An answer \
known to be good is given for comparison; another one may be as good.

[Request]
{question}

[Answer known to be good]
{reference}

[Answer of the assistant]
{answer}

Give your reasons in a few sentences. Then end with a grade from 1 (useless) to 10 (could not be better), such as \
[[5]]."""
