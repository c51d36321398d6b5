"""Every task that lm-evaluation-harness knows, by name.

Indexing its thousands of files takes seconds, and loading a benchmark's data takes more, so one library is kept for
as long as a process scores. It is made on first use: the user's own data need none of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets.exceptions import DatasetsError
from jinja2 import TemplateError
from lm_eval.tasks import TaskManager

from evals.code.policy import code_execution, is_sandboxed, refuse_unsafe
from evals.errors import TaskError
from evals.offline import reading_from
from evals.spec import ScoringSpec, TaskSpec
from evals.tasks.names import refuse_unknown
from evals.tasks.punkt import sentence_splitter
from evals.tasks.requests import BuiltOnce

# What `datasets`, the Hub's client and a task's own module raise when data or packages are missing.
LOADING_ERRORS = (OSError, ValueError, ImportError, RuntimeError, LookupError, DatasetsError, TemplateError)


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task or group, ready to be asked."""

    spec: TaskSpec
    """What was asked for."""
    items: Sequence[Any]
    """lm-evaluation-harness's objects: one group, or one or several tasks."""
    tasks: tuple[str, ...]
    """Names of the tasks within."""

    @property
    def leaves(self) -> list[Any]:
        """lm-evaluation-harness's tasks, groups taken apart."""
        return list(_leaves(self.items))

    @property
    def data_names(self) -> set[str]:
        """Names of the data sets that the tasks read."""
        return {str(getattr(task, "DATASET_PATH", "")) for task in _leaves(self.items)}

    def read_prompts(self) -> dict[str, str]:
        """How the data set begins each program that is to be completed, by the code that tests it."""
        return {
            str(task.doc_to_target(doc)): doc["prompt"]
            for task in _leaves(self.items)
            if getattr(task, "UNSAFE_CODE", False)
            for doc in task.eval_docs
            if isinstance(doc.get("prompt"), str)
        }


class TaskLibrary:
    """Finds and loads tasks, those in `include` before the ones that come with lm-evaluation-harness."""

    def __init__(self, include: Path | None = None) -> None:
        self._include = include
        self._loaded: dict[tuple[str, Path | None, int], LoadedTask] = {}

    @cached_property
    def manager(self) -> TaskManager:
        """lm-evaluation-harness's index."""
        return TaskManager(include_path=self._include)

    def load(self, spec: TaskSpec, scoring: ScoringSpec) -> LoadedTask:
        """Load a task with its data. Raises TaskError where it is unknown, unsafe, or lacks its data."""
        refuse_unknown(spec.task, self.manager.task_index.keys())
        # Before loading: the module of a task that runs code may do so when it is imported.
        running = [config["task"] for config in self._configs(spec.task) if config.get("unsafe_code")]
        if running:
            refuse_unsafe(spec.task, scoring, sandboxed=self._all_sandboxed(running))
        # Examples are drawn by the seed.
        key = (spec.model_dump_json(), scoring.data_root, scoring.seed)
        if key not in self._loaded:
            self._loaded[key] = self._load(spec, scoring)
        loaded = self._loaded[key]
        running = [task.config.task for task in _leaves(loaded.items) if getattr(task, "UNSAFE_CODE", False)]
        if running:
            refuse_unsafe(spec.task, scoring, sandboxed=self._all_sandboxed(running))
        return loaded

    def _load(self, spec: TaskSpec, scoring: ScoringSpec) -> LoadedTask:
        data_root = scoring.data_root
        names = self.data_names(spec.task)
        try:
            with reading_from(data_root), sentence_splitter(names, data_root), code_execution(scoring):
                found = self.manager.load([spec.task])
        except LOADING_ERRORS as error:
            raise self._cannot_load(spec.task, error, data_root) from error
        tasks, groups = found["tasks"], found["groups"]
        if any(getattr(task, "MULTIMODAL", False) for task in tasks.values()):
            raise TaskError(f"{spec.task}: this task shows images or sound, and only text models are scored here.")
        items = [groups[spec.task]] if spec.task in groups else list(tasks.values())
        for leaf in _leaves(items):
            leaf.build_all_requests = BuiltOnce(leaf)
        return LoadedTask(spec, items, tuple(tasks))

    def data_names(self, name: str) -> set[str]:
        """Names of the data sets that a task or group reads, found without loading any."""
        # A task may be written as a class, which then holds the name.
        found = (
            config.get("dataset_path") or getattr(config.get("class"), "DATASET_PATH", None)
            for config in self._configs(name)
        )
        return {str(data_name) for data_name in found if data_name}

    def metric_names(self, name: str) -> set[str]:
        """Names of the metrics that a task or group takes from the `evaluate` library, which fetches each."""
        listed = (metric for config in self._configs(name) for metric in config.get("metric_list") or ())
        return {str(metric["metric"]) for metric in listed if metric.get("hf_evaluate")}

    def _all_sandboxed(self, names: Sequence[object]) -> bool:
        entries = [self.manager.task_index.get(name) for name in names]
        return all(entry is not None and is_sandboxed(entry.yaml_path) for entry in entries)

    def _configs(self, name: str) -> Iterator[Mapping[str, Any]]:
        """The configuration of a task, or of everything within a group or tag."""
        entry = self.manager.task_index.get(name)
        if entry is None:
            return
        config = {"task": sorted(entry.tags)} if entry.cfg is None else entry.cfg
        yield from self._configs_within(config)

    def _configs_within(self, config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        yield config
        members = config.get("task")
        for member in members if isinstance(members, list) else []:
            inline = {"task": member} if isinstance(member, str) else member
            yield from self._configs_within(inline)
            named = inline.get("group") or inline.get("task")
            if isinstance(named, str):
                yield from self._configs(named)

    def _cannot_load(self, name: str, error: Exception, data_root: Path | None) -> TaskError:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        path = min(self.data_names(name), default=None)
        where = "" if path is None else f" Its data {path!r} must be on the Hub, within reach, or in ./{path}."
        if path is not None and data_root is not None:
            where = f" Its data are read from {data_root / path}: are all of them there?"
        return TaskError(f"{name}: cannot be loaded: {reason}.{where}")


def _leaves(items: Sequence[Any]) -> Iterator[Any]:
    for item in items:
        yield from item.get_all_tasks() if hasattr(item, "get_all_tasks") else [item]
