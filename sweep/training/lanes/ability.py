"""Temporary."""

from evals.spec import ModelSpec
from sweep.spec import MethodSpec


def solo_reason(method: MethodSpec, model: ModelSpec, device_type: str) -> str | None:
    return "full" if method.kind == "full" else None


def base_key(method: MethodSpec, model: ModelSpec) -> str:
    return f"{model!r} {method.quantization!r}"
