"""Batch: the secrets of a container, read from Secrets Manager and SSM as ECS does at its start.

Who may read them is not checked here; with ``AUTH`` the emulator checks calls of functions only.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ministack.services import secretsmanager, ssm

from tests.testbed.patching import require

_ENCRYPTED = "ENCRYPTED:"  # how the emulator keeps what KMS would encrypt
_PARTS_OF_A_SECRET = 7  # of an ARN up to the secret's name; then a key, a stage, a version


class UnreadableError(Exception):
    """A secret can't be had; the message is ECS's."""


def install() -> None:
    require(secretsmanager, "resolve_secret_string")
    require(ssm, "_lookup_parameter")


def values_of(secrets: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the variables a container gets.

    Raises
    ------
    UnreadableError
        If a secret is not there.
    """
    return {each["name"]: _value(each["valueFrom"]) for each in secrets}


def _value(source: str) -> str:
    if ":secretsmanager:" not in source:
        _, parameter = ssm._lookup_parameter(source, allow_arn_region=True)
        if parameter is None:
            raise UnreadableError(_told("ssm", f"invalid parameters: {source}"))
        value = str(parameter["Value"])
        if parameter["Type"] != "SecureString":
            return value
        return base64.b64decode(value.removeprefix(_ENCRYPTED)).decode()
    parts = source.split(":")
    text = secretsmanager.resolve_secret_string(":".join(parts[:_PARTS_OF_A_SECRET]))
    if text is None:
        message = "ResourceNotFoundException: Secrets Manager can't find the specified secret."
        raise UnreadableError(_told("asm", message))
    key = parts[_PARTS_OF_A_SECRET] if len(parts) > _PARTS_OF_A_SECRET else ""
    if not key:
        return text
    try:
        return str(json.loads(text)[key])
    except (ValueError, KeyError):
        message = f"retrieved secret from Secrets Manager did not contain json key {key}"
        raise UnreadableError(_told("asm", message)) from None


def _told(where: str, message: str) -> str:
    return (
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
        f"retrieval failed: unable to retrieve secret from {where}: {message}"
    )
