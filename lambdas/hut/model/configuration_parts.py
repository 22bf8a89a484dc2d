"""What the sections of ``hut.yaml`` are made of: kinds of values, and what all entries have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from hut.model.quantities import parse_duration

__all__ = [
    "Aws",
    "Count",
    "Port",
    "ScalarText",
    "Seconds",
    "Section",
    "Text",
    "scalar_text",
    "shell_safe",
]


def scalar_text(value: Any) -> Any:
    """Let numbers and booleans stand for their text, as in a workflow file's ``env_vars``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


def shell_safe(text: str) -> str:
    """Refuse what can't be passed to a shell in any way."""
    if "\0" in text:
        raise ValueError("a NUL character can't be passed to a shell; remove it")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; leave the field out or write a value")
    return text


def _seconds(value: Any) -> float:
    return parse_duration(value, bare="seconds")


Text = Annotated[str, AfterValidator(_filled)]
ScalarText = Annotated[str, BeforeValidator(scalar_text), AfterValidator(shell_safe)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """What all parts of the file have in common: no unknown fields, no guessing of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Aws(Section):
    """Where in AWS; credentials never stand in the file."""

    region: Text
    profile: Text | None = None
