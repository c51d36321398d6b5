"""The root of the error tree.

It stands here because scoring is the lowest layer; `sweep.errors` grows the branches that only studies need.

    ToolError                  everything that this tool raises on purpose
    ├── InputError             the user can mend it: exit code 2, one clear line for each problem
    │   ├── ModelError         a model, adapter or tokenizer that cannot be loaded as asked
    │   └── TaskError          an unknown task, a task whose data are missing, or one refused as unsafe
    └── RunError               the work failed: exit code 1
"""


class ToolError(Exception):
    """Anything this tool raises on purpose; a bug raises something else."""


class InputError(ToolError):
    """What the user gave cannot be used. The message says where, what was found and what is allowed."""


class ModelError(InputError):
    """A model, adapter or tokenizer cannot be loaded as asked."""


class TaskError(InputError):
    """A task is unknown, lacks its data, or is refused as unsafe."""


class RunError(ToolError):
    """Work that was validly asked for did not succeed."""
