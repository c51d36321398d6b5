"""Plain prose as a task: the loss on text that has nothing to do with what a model was trained for.

A model that has forgotten shows it here before it does in a benchmark. Each paragraph is read by itself from its
beginning and is an item, so that two models can be compared paragraph by paragraph.
"""

from pathlib import Path

from evals.errors import TaskError
from evals.spec import GENERAL_TEXT, OwnDataSpec, OwnRow, ScoringSpec, TaskSpec
from evals.tasks.own import OwnTask
from evals.tasks.paragraphs import read_paragraphs


def build_general_text(task: TaskSpec, scoring: ScoringSpec, own: OwnDataSpec | None) -> OwnTask:
    """The text as a task. Raises TaskError where its file cannot be read or holds nothing."""
    del own
    if task.num_fewshot or task.gen_kwargs:
        raise TaskError(f"{GENERAL_TEXT}: the text is read as it is. Leave num_fewshot and gen_kwargs out.")
    rows = [
        OwnRow(row=number, prompt="", completion=paragraph, answer="")
        for number, paragraph in enumerate(read_paragraphs(scoring.general_text), start=1)
    ]
    nothing_but_text = OwnDataSpec(rows=scoring.general_text or Path(GENERAL_TEXT), answer="none")
    return OwnTask(nothing_but_text, rows, generate=False, max_new_tokens=1, name=GENERAL_TEXT)
