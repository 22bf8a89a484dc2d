"""Routes of backends and environments: what there is, and one entry changed at a time.

Each change makes a new version of the whole configuration.
"""

from __future__ import annotations

from typing import Annotated, Any

from aws_lambda_powertools.event_handler.openapi.params import Path, Query

from hut.backends.ec2.options import Ec2Options
from hut.model.applied import is_entry_name
from hut.model.documents import read_document
from hut.model.problems import Problem, did_you_mean
from hut.rest.answers import Answer, fitting, json_answer
from hut.rest.configuring import change_answer, changed, expected_version, message_of
from hut.rest.exchange import Exchange, exchange_of
from hut.rest.refusals import Refusal, malformed
from hut.rest.routing import new_router
from hut.service.configuring import By, Listed
from hut.views import Document

__all__ = ["router"]

router = new_router()

BackendName = Annotated[str, Path(description="The backend's name.")]
EnvironmentName = Annotated[str, Path(description="The environment's name.")]
Message = Annotated[str, Query(max_length=500, description="What the history says of the change.")]


@router.get("/backends", summary="List backends", operation_id="listBackends")
def list_backends() -> Answer:
    """Answer with all backends; the default is the first."""
    exchange = exchange_of(router)
    found = [_backend_document(exchange, each) for each in exchange.services.configuring.backends()]
    found.sort(key=lambda document: not document["default"])
    return json_answer(f"[{','.join(fitting(found))}]")


@router.get("/backends/<name>", summary="Show a backend", operation_id="showBackend")
def show_backend(name: BackendName) -> Answer:
    """Answer with one backend."""
    exchange = exchange_of(router)
    listed = {each.name: each for each in exchange.services.configuring.backends()}
    if name not in listed:
        raise _unknown("backend", name, list(listed))
    return json_answer(_backend_document(exchange, listed[name]))


@router.put("/backends/<name>", summary="Add or change a backend", operation_id="putBackend")
def put_backend(name: BackendName, message: Message = "") -> Answer:
    """Put an entry of `backends` into the configuration."""
    return _put(exchange_of(router), "backends", name, message)


@router.delete("/backends/<name>", summary="Delete a backend", operation_id="deleteBackend")
def delete_backend(name: BackendName, message: Message = "") -> Answer:
    """Take an entry of `backends` out; of the deployment's own backend, what refines it."""
    return _delete(exchange_of(router), "backends", name, message)


@router.get("/environments", summary="List environments", operation_id="listEnvironments")
def list_environments() -> Answer:
    """Answer with all environments."""
    content = exchange_of(router).services.configuring.standing().content
    found = [_environment_document(entry) for entry in content["environments"]]
    return json_answer(f"[{','.join(fitting(found))}]")


@router.get("/environments/<name>", summary="Show an environment", operation_id="showEnvironment")
def show_environment(name: EnvironmentName) -> Answer:
    """Answer with one environment."""
    content = exchange_of(router).services.configuring.standing().content
    found = {entry["name"]: entry for entry in content["environments"]}
    if name not in found:
        raise _unknown("environment", name, list(found))
    return json_answer(_environment_document(found[name]))


@router.put(
    "/environments/<name>",
    summary="Add or change an environment",
    operation_id="putEnvironment",
)
def put_environment(name: EnvironmentName, message: Message = "") -> Answer:
    """Put an entry of `environments` into the configuration."""
    return _put(exchange_of(router), "environments", name, message)


@router.delete(
    "/environments/<name>", summary="Delete an environment", operation_id="deleteEnvironment"
)
def delete_environment(name: EnvironmentName, message: Message = "") -> Answer:
    """Take an entry of `environments` out."""
    return _delete(exchange_of(router), "environments", name, message)


def _put(exchange: Exchange, section: str, name: str, message: str) -> Answer:
    expected = expected_version(exchange)
    fields = _fields(exchange)
    said = message_of(message) or f"put {section}/{name}"
    by = By(exchange.owner, exchange.services.clock(), said)
    if not is_entry_name(name):
        raise _unknown(section[:-1], name, [])
    configuring = exchange.services.configuring
    change = changed(
        exchange,
        "put",
        lambda: configuring.put(section, name, fields, by, expected=expected),
        entry=f"{section}/{name}",
    )
    return change_answer(exchange, change)


def _delete(exchange: Exchange, section: str, name: str, message: str) -> Answer:
    expected = expected_version(exchange)
    said = message_of(message) or f"delete {section}/{name[:100]}"
    by = By(exchange.owner, exchange.services.clock(), said)
    configuring = exchange.services.configuring
    change = changed(
        exchange,
        "delete",
        lambda: configuring.delete(section, name, by, expected=expected),
        entry=f"{section}/{name[:100]}",
    )
    return change_answer(exchange, change)


def _fields(exchange: Exchange) -> dict[str, Any]:
    """Return the fields of the entry that a body is."""
    text = exchange.body()
    if not text.strip():
        raise malformed([Problem("the request has no body; send the fields of the entry")])
    document = read_document(text, format="json")
    problems = list(document.problems)
    if not isinstance(document.data, dict):
        problems.append(Problem("is not an object with the fields of the entry"))
    elif "name" in document.data:
        problems.append(Problem("unknown field; the path says the name", field="name"))
    if problems or not isinstance(document.data, dict):
        raise malformed(problems)
    return document.data


def _backend_document(exchange: Exchange, listed: Listed) -> Document:
    backend = listed.backend
    if backend is None:
        return {
            "name": listed.name,
            "type": listed.kind,
            "origin": "configuration",
            "refined": False,
            "default": False,
            "can_run": False,
            "problem": listed.problem,
            "max_concurrent": (listed.entry or {}).get("max_concurrent"),
            "active": None,
            "default_image": (listed.entry or {}).get("default_image"),
            "default_queue": None,
            "queues": [],
            "ec2": None,
            "configured": listed.entry,
        }
    options = backend.options
    return {
        "name": listed.name,
        "type": listed.kind,
        "origin": backend.origin,
        "refined": backend.refined and backend.origin == "stack",
        "default": listed.is_default,
        "can_run": not listed.problem,
        "problem": listed.problem or None,
        "max_concurrent": options.cap,
        # The store counts only where there is a cap to be kept.
        "active": exchange.services.active_on(listed.name) if options.cap else None,
        "default_image": options.default_image,
        "default_queue": options.default_partition,
        "queues": list(options.partitions),
        "ec2": _ec2_document(options) if isinstance(options, Ec2Options) else None,
        "configured": listed.entry,
    }


def _ec2_document(options: Ec2Options) -> Document:
    """Return what instances of a backend are made of."""
    return {
        "region": options.region,
        "instance_types": {name: list(types) for name, types in options.instance_types.items()},
        "ami": options.ami,
        "spot": options.spot.value,
        "reuse": options.reuse,
        "max_instances": options.max_instances,
        "subnet_ids": list(options.subnet_ids),
        "security_group_ids": list(options.security_group_ids),
        "instance_profile_arn": options.instance_profile_arn,
        "state_machine": options.machine,
        "document": options.document,
        "launch_template": options.launch_template,
    }


def _environment_document(entry: dict[str, Any]) -> Document:
    return {
        "name": entry["name"],
        "variables": entry.get("variables", {}),
        "extra_init": entry.get("extra_init", ""),
    }


def _unknown(what: str, name: str, known: list[str]) -> Refusal:
    hint = did_you_mean(name[:100], known) or (
        "a name has letters, digits, '.', '_' and '-'"
        if not is_entry_name(name)
        else "there is none"
    )
    return Refusal(404, f"unknown-{what}", f"there is no {what} {name[:100]!r}; {hint}")
