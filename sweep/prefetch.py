"""Bring everything that a study needs into one directory, for a machine without a network.

The directory is a data root: benchmarks and the study's own Hub data lie in it under their Hub names, models below
`models/`, metrics below `metrics/`, NLTK's data below `nltk_data/`. Its manifest says which commit each came from and
the SHA-256 of each file. Running it again fetches what is missing or does not match, at the commit recorded before: a
branch that has moved meanwhile does not change what a study is run on.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from evals.models.source import MODELS, PACKAGE_PREFIX
from evals.offline import METRICS, is_on_the_hub, visible_files
from evals.spec import OUR_TASKS, ModelSpec, Spec
from evals.tasks.library import TaskLibrary
from evals.tasks.names import refuse_unknown
from evals.tasks.punkt import NLTK_DATA, SPLITTER, needs_splitter
from sweep.data.source import HubSource, find_sources
from sweep.errors import RunError
from sweep.spec import StudySpec

MANIFEST = "manifest.json"
# Only safetensors weights are ever loaded; other formats double or triple a download.
OTHER_WEIGHTS = ("*.bin", "*.h5", "*.msgpack", "*.onnx", "*.onnx_data", "*.ot", "*.pt", "*.pth", "*.tflite")

Kind = Literal["model", "dataset", "metric", "nltk"]
OnFetched = Callable[["Fetched", bool], None]
"""Called with each part and whether anything had to be fetched for it."""


class Wanted(Spec):
    """One thing that a study needs."""

    kind: Kind
    """What it is."""
    name: str
    """Its name on the Hub, or NLTK's."""
    revision: str | None = None
    """Branch, tag or commit that the study asks for."""
    gguf_file: str | None = None
    """The one file of weights that is needed, where the model is a GGUF file."""

    @property
    def folder(self) -> Path:
        """Where it lies within the data root."""
        return {
            "model": Path(MODELS, self.name),
            "dataset": Path(self.name),
            "metric": Path(METRICS, self.name),
            "nltk": Path(NLTK_DATA, "tokenizers", self.name),
        }[self.kind]


class FetchedFile(Spec):
    """One file as it was fetched."""

    path: str
    """Path within the part's folder."""
    size_bytes: int
    """Its size."""
    sha256: str
    """Its content."""


class Fetched(Spec):
    """One thing that a study needs, as it was fetched."""

    wanted: Wanted
    """What was asked for."""
    commit: str | None
    """Commit on the Hub; none for NLTK's data, which has no revisions."""
    files: tuple[FetchedFile, ...]
    """Every file."""


class Manifest(Spec):
    """What a directory holds."""

    parts: tuple[Fetched, ...] = ()
    """Everything fetched, in the order of the plan."""


def plan(spec: StudySpec, *, data_root: Path, library: TaskLibrary | None = None) -> list[Wanted]:
    """Everything that a study reads from a network. What lies beside it or inside a package is there already.

    Raises TaskError for an unknown task and DataError for a missing data file.
    """
    wanted = [*_models(spec.model), *_own_data(spec, data_root), *_benchmarks(spec, library or TaskLibrary())]
    return list(dict.fromkeys(wanted))


def prefetch(
    wanted: Sequence[Wanted], to: Path, *, endpoint: str | None = None, on_fetched: OnFetched | None = None
) -> Manifest:
    """Fetch what is missing below `to` or differs from its manifest, and write the manifest after each part.

    Raises RunError where something cannot be fetched or does not arrive whole; what did arrive is kept.
    """
    known = {part.wanted: part for part in read_manifest(to).parts}
    for part in wanted:
        before = known.get(part)
        needs_fetching = before is None or bool(damaged(before, to))
        if needs_fetching:
            known[part] = _fetch(part, before, to, endpoint)
            _write_manifest(Manifest(parts=tuple(known.values())), to)
        if on_fetched is not None:
            on_fetched(known[part], needs_fetching)
    return Manifest(parts=tuple(known[part] for part in wanted))


def damaged(part: Fetched, root: Path) -> list[str]:
    """Files of a part that are missing or differ from the manifest."""
    folder = root / part.wanted.folder
    return [file.path for file in part.files if _describe(folder / file.path, folder) != file]


def read_manifest(root: Path) -> Manifest:
    """The manifest of a data root; an empty one where there is none. Raises RunError for one that cannot be read."""
    path = root / MANIFEST
    if not path.is_file():
        return Manifest()
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise RunError(f"{path}: not a manifest as this version writes it. Move it away to fetch anew.") from error


def _models(model: ModelSpec) -> Iterator[Wanted]:
    name = model.model_name_or_path
    if not name.startswith((PACKAGE_PREFIX, ".", "/", "~")) and not Path(name).is_dir():
        yield Wanted(kind="model", name=name, revision=model.revision, gguf_file=model.gguf_file)


def _own_data(spec: StudySpec, data_root: Path) -> Iterator[Wanted]:
    for source in find_sources(spec.data, data_root=data_root).values():
        if isinstance(source, HubSource):
            yield Wanted(kind="dataset", name=source.name, revision=source.revision)


def _benchmarks(spec: StudySpec, library: TaskLibrary) -> Iterator[Wanted]:
    names = dict.fromkeys(task.task for task in (*spec.evaluation.search, *spec.evaluation.confirm))
    for name in (name for name in names if name not in OUR_TASKS):
        refuse_unknown(name, library.manager.task_index.keys())
        for data_name in sorted(filter(is_on_the_hub, library.data_names(name))):
            yield Wanted(kind="dataset", name=data_name)
        yield from (Wanted(kind="metric", name=metric) for metric in sorted(library.metric_names(name)))
        if needs_splitter(library.data_names(name)):
            yield Wanted(kind="nltk", name=SPLITTER)


def _fetch(part: Wanted, before: Fetched | None, to: Path, endpoint: str | None) -> Fetched:
    for path in damaged(before, to) if before is not None else ():
        (to / part.folder / path).unlink(missing_ok=True)
    commit = None
    if part.kind == "nltk":
        _fetch_nltk(part, to)
    else:
        commit = _fetch_repository(part, before, to, endpoint)
    folder = to / part.folder
    fetched = Fetched(wanted=part, commit=commit, files=tuple(_described(folder)))
    if before is not None and fetched.files != before.files:
        raise RunError(f"{part.name}: what was fetched differs from {to / MANIFEST}. Fetch into another directory.")
    return fetched


def _fetch_repository(part: Wanted, before: Fetched | None, to: Path, endpoint: str | None) -> str:
    repository, kind = (f"evaluate-metric/{part.name}", "space") if part.kind == "metric" else (part.name, part.kind)
    asked = part.revision if before is None else before.commit
    try:
        found = HfApi(endpoint=endpoint).repo_info(repository, repo_type=kind, revision=asked, files_metadata=True)
        commit = str(found.sha)
        snapshot_download(
            repository,
            repo_type=kind,
            revision=commit,
            local_dir=to / part.folder,
            endpoint=endpoint,
            ignore_patterns=[*OTHER_WEIGHTS, "*.safetensors" if part.gguf_file else "*.gguf"],
        )
        if part.gguf_file is not None:
            snapshot_download(
                repository,
                revision=commit,
                local_dir=to / part.folder,
                endpoint=endpoint,
                allow_patterns=part.gguf_file,
            )
    except (OSError, HfHubHTTPError, OfflineModeIsEnabled, ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise RunError(f"{part.name}: cannot be fetched: {reason}. Run the same command again to go on.") from error
    stored = {
        file.rfilename: file.lfs.sha256 for file in getattr(found, "siblings", None) or () if file.lfs is not None
    }
    _refuse_altered(part, to / part.folder, stored)
    return commit


def _refuse_altered(part: Wanted, folder: Path, stored: dict[str, str]) -> None:
    for name, sha256 in stored.items():
        path = folder / name
        if path.is_file() and _sha256(path) != sha256:
            path.unlink()
            raise RunError(f"{part.name}: {name} arrived with another SHA-256 than the Hub states. Run it again.")


def _fetch_nltk(part: Wanted, to: Path) -> None:
    import nltk

    if not nltk.download(part.name, download_dir=str(to / NLTK_DATA), quiet=True):
        raise RunError(f"{part.name}: NLTK could not fetch it. Run the same command again to go on.")
    (to / NLTK_DATA / "tokenizers" / f"{part.name}.zip").unlink(missing_ok=True)


def _described(folder: Path) -> Iterator[FetchedFile]:
    for path in visible_files(folder):
        if (file := _describe(path, folder)) is not None:
            yield file


def _describe(path: Path, folder: Path) -> FetchedFile | None:
    if not path.is_file():
        return None
    return FetchedFile(path=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_manifest(manifest: Manifest, root: Path) -> None:
    scratch = root / f".{MANIFEST}"
    scratch.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    with scratch.open("rb") as stream:
        os.fsync(stream.fileno())
    scratch.replace(root / MANIFEST)
