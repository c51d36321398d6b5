"""The command `sweep eval`: scores any model, with lm-evaluation-harness's own flags."""

from pathlib import Path
from typing import Annotated

import typer

from evals.gen_kwargs import read_gen_kwargs
from evals.spec import RENDERED_TASKS, Dtype, ModelSpec, QuantizationSpec, ScoringSpec
from sweep import api, display
from sweep.config import Split
from sweep.errors import InputError
from sweep.options import CacheOption, console, default_cache
from sweep.stock_flags import task_of
from sweep.store import RunDirectory


def evaluate(  # noqa: PLR0913, PLR0917 - one option a flag of the stock tool
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A Hub name, a directory, package:NAME, or a trial's directory in a run.",
            show_default=False,
        ),
    ],
    tasks: Annotated[
        str | None,
        typer.Option(help="Task names, by commas or spaces; `own` needs --study. A trial's directory brings its own."),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="A PEFT adapter to put on the model.")] = None,
    study: Annotated[
        Path | None, typer.Option(metavar="RUN_DIR", help="The run directory whose data `own` means.")
    ] = None,
    split: Annotated[Split, typer.Option(help="Part of the own data.")] = "test",
    num_fewshot: Annotated[int | None, typer.Option(min=0, help="Examples before each question.")] = None,
    limit: Annotated[
        float | None, typer.Option(help="Score only the first items: a share below 1, a number from 1 on.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences per forward pass.")] = 8,
    apply_chat_template: Annotated[  # noqa: FBT002
        bool, typer.Option("--apply-chat-template", help="Ask through the model's chat template.")
    ] = False,
    dtype: Annotated[Dtype, typer.Option(help="Dtype of the weights and of computing.")] = "bfloat16",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")] = None,
    gguf_file: Annotated[str | None, typer.Option(help="A GGUF file within the model's directory.")] = None,
    load_in_4bit: Annotated[bool, typer.Option("--load-in-4bit", help="Quantize the weights to 4 bits.")] = False,  # noqa: FBT002
    trust_remote_code: Annotated[  # noqa: FBT002
        bool, typer.Option("--trust-remote-code", help="Run the model's own code, which you have read.")
    ] = False,
    output_path: Annotated[Path, typer.Option(help="Where results go.")] = Path("eval"),
    cache: CacheOption = None,
    gen_kwargs: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE,…", help="Generation settings; may be repeated.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Read models and benchmarks from here, and fetch nothing.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Score so many times and show the share of items that flip.")] = 1,
) -> None:
    """Score any model or adapter on its own."""
    generation = read_gen_kwargs(",".join(gen_kwargs or ()))
    chosen = tuple(
        task_of(name.strip(), num_fewshot, limit, generation, apply_chat_template=apply_chat_template)
        for name in (tasks or "").split(",")
        if name.strip()
    )
    where = cache or default_cache()
    if (Path(model) / "config.yaml").is_file():
        result = api.score_trial(
            Path(model),
            output=output_path,
            tasks=chosen,
            cache=where,
            benchmarks=data_root,
            repeat=repeat,
            trust_remote_code=trust_remote_code,
        )
    else:
        if not chosen:
            raise InputError("Name the --tasks, such as --tasks mmlu,gsm8k.")
        asks_own = any(task.task in RENDERED_TASKS for task in chosen)
        if asks_own and study is None:
            raise InputError("The task own needs --study RUN_DIR, whose data it means.")
        result = api.score_model(
            ModelSpec(
                model_name_or_path=model,
                dtype=dtype,
                revision=revision,
                gguf_file=gguf_file,
                trust_remote_code=trust_remote_code,
            ),
            chosen,
            output=output_path,
            scoring=ScoringSpec(batch_size=batch_size, data_root=data_root and data_root.resolve()),
            adapter=adapter,
            quantization=QuantizationSpec() if load_in_4bit else None,
            own=None
            if study is None or not asks_own
            else api.own_data(RunDirectory(study), split, cache=where, who=model if adapter is None else str(adapter)),
            cache=where,
            repeat=repeat,
        )
    console.print(display.scores_table(result))
    console.print(f"per-item answers: {output_path}")
