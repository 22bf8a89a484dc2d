"""The OpenAPI document. Powertools describes routes and parameters; bodies and answers are here.

Loaded only when somebody asks for the document: its models cost more than most requests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from hut import __version__
from hut.rest import pool_schemas, schemas
from hut.rest.answers import PROBLEM_TYPE, TITLES
from hut.rest.app import api
from hut.rest.bodies import AddBody, Envelope, RetryBody

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["openapi_document", "openapi_text"]

_REF = "#/components/schemas/{model}"
_JSON = "application/json"
_DESCRIPTION = """\
Submits workflows of shell tasks and shows what becomes of them.

Requests are signed with AWS Signature Version 4. Lists are JSON arrays; where they go on, the
header `X-Next-Cursor` (and `Link`) leads to the next page. A page may be shorter than `limit`
where entries are large. Errors are problem documents (RFC 9457)."""

_TASKS = [
    {"id": "split", "command": "split -n 2 data.csv part-"},
    {"id": "count", "command": "wc -l part-*", "deps": ["split"]},
]
_WORKFLOW_BODY: dict[str, Any] = {
    "description": "A workflow, or an envelope with one and what is said beside it.",
    "required": True,
    "content": {
        _JSON: {
            "schema": {
                "anyOf": [
                    {"$ref": _REF.format(model="Workflow")},
                    {"$ref": _REF.format(model="Envelope")},
                ]
            },
            "examples": {
                "workflow": {"summary": "A workflow", "value": {"name": "count", "tasks": _TASKS}},
                "envelope": {
                    "summary": "With options",
                    "value": {
                        "workflow": _TASKS,
                        "name": "nightly",
                        "max_concurrent": 10,
                        "env_vars": {"YEAR": "2026"},
                        "environments": {"py": {"variables": {"PYTHONUTF8": "1"}}},
                    },
                },
                "text": {
                    "summary": "A file as it is",
                    "value": {
                        "workflow": "tasks:\n- id: hello\n  command: echo hello\n",
                        "filename": "hello.yaml",
                    },
                },
                "upload": {
                    "summary": "A file that was uploaded",
                    "value": {"upload": "q3vx0zt2", "filename": "large.json"},
                },
            },
        }
    },
}
_TASKS_BODY: dict[str, Any] = {
    "description": "Tasks, alone or as a workflow, or the id of an upload that holds them. They may "
    "depend on tasks the run has.",
    "required": True,
    "content": {
        _JSON: {
            "schema": {
                "anyOf": [
                    {"$ref": _REF.format(model="Workflow")},
                    {"$ref": _REF.format(model="AddBody")},
                ]
            },
            "examples": {
                "tasks": {
                    "summary": "A task more",
                    "value": [{"id": "sum", "command": "./sum", "deps": ["count"]}],
                },
                "upload": {
                    "summary": "A file that was uploaded",
                    "value": {"upload": "q3vx0zt2", "filename": "more.json"},
                },
            },
        }
    },
}
_RETRY_BODY: dict[str, Any] = {
    "required": False,
    "content": {
        _JSON: {
            "schema": {"$ref": _REF.format(model="RetryBody")},
            "examples": {"everything": {"summary": "Repeat all tasks", "value": {"all": True}}},
        }
    },
}
_CONFIG_BODY: dict[str, Any] = {
    "description": "Sections of `hut.yaml`; those that are missing are empty afterwards.",
    "required": True,
    "content": {
        _JSON: {
            "schema": {"$ref": _REF.format(model="ConfigBody")},
            "examples": {
                "environments": {
                    "summary": "An environment and a cap",
                    "value": {
                        "message": "Python settings for all",
                        "environments": [{"name": "py", "variables": {"PYTHONUTF8": "1"}}],
                        "backends": [{"name": "batch", "type": "batch", "max_concurrent": 50}],
                    },
                }
            },
        }
    },
}
_BACKEND_BODY: dict[str, Any] = {
    "description": "The fields of an entry of `backends`, without its name.",
    "required": True,
    "content": {
        _JSON: {
            "schema": {"$ref": _REF.format(model="BackendBody")},
            "examples": {
                "cap": {
                    "summary": "Bound the deployment's own backend",
                    "value": {"type": "batch", "max_concurrent": 50},
                },
                "ec2": {
                    "summary": "An instance for each task, spot where there is some",
                    "value": {
                        "type": "ec2",
                        "instance_types": {"default": ["c5.xlarge", "m5.xlarge"]},
                        "spot": "prefer",
                        "max_instances": 20,
                    },
                },
            },
        }
    },
}
_ENVIRONMENT_BODY: dict[str, Any] = {
    "description": "The fields of an entry of `environments`, without its name.",
    "required": True,
    "content": {
        _JSON: {
            "schema": {"$ref": _REF.format(model="EnvironmentBody")},
            "examples": {
                "variables": {"summary": "Variables", "value": {"variables": {"LANG": "C.UTF-8"}}}
            },
        }
    },
}
_DEFINITION_BODY: dict[str, Any] = {
    "description": "A task as its program says it by `--dump-task-definition`.",
    "required": True,
    "content": {
        _JSON: {
            "schema": {"type": "object"},
            "examples": {
                "hello": {
                    "summary": "A task that takes a text and returns one",
                    "value": {
                        "name": "hello",
                        "version": "1.0",
                        "input": {"file_argument": "-i", "json_schema": {"type": "string"}},
                        "output": {"file_argument": "-o", "json_schema": {"type": "string"}},
                        "error": {"file_argument": "-e"},
                        "command": ["hello"],
                    },
                }
            },
        }
    },
}
_JOIN_BODY = pool_schemas.body_of(
    "Join", "A worker of two slots", {"name": "w1", "properties": {"arch": "arm64"}, "slots": 2}
)
_TURN_BODY = pool_schemas.body_of(
    "Turn",
    "One task has ended, two are wanted",
    {
        "want": 2,
        "holding": [],
        "reports": [
            {
                "lease": "hut-k3v9x2m7q4-0-1-1",
                "epoch": 1,
                "how": "exit",
                "exit_code": 0,
                "started_at": 1790000000.0,
                "ended_at": 1790000001.5,
            }
        ],
    },
)
_IF_MATCH: dict[str, Any] = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of the version that is changed; `*` for whichever is current. "
    "If another one is current, the answer is 409.",
    "schema": {"type": "string", "maxLength": 50},
}
_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and body give the same run, another body gives 409. "
    "Keys of different callers never meet.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


@dataclass(frozen=True)
class _Operation:
    """What powertools does not know of a route.

    Attributes
    ----------
    answers : dict of int to (str, model or None)
        By status; None is plain text.
    problems : tuple of int
        Statuses that this route refuses with, beside those of all routes.
    """

    answers: dict[int, tuple[str, type[BaseModel] | None]]
    problems: tuple[int, ...] = ()
    is_list: bool = False
    body: dict[str, Any] | None = None
    parameters: tuple[dict[str, Any], ...] = field(default=())


_CHANGED: dict[int, tuple[str, type[BaseModel] | None]] = {
    200: ("Nothing to change", schemas.ConfigChange),
    201: ("The new version", schemas.ConfigChange),
}
_REGISTERED: dict[int, tuple[str, type[BaseModel] | None]] = {
    200: ("The same was registered before", schemas.RegisteredDefinition),
    201: ("It is registered", schemas.RegisteredDefinition),
}
_OPERATIONS: dict[str, _Operation] = {
    "health": _Operation({200: ("It does", schemas.Health)}),
    "describeApi": _Operation({200: ("This document", None)}),
    "planWorkflow": _Operation(
        {200: ("What would run", schemas.Plan)}, (404, 413, 422), body=_WORKFLOW_BODY
    ),
    "submitRun": _Operation(
        {
            201: ("The new run", schemas.Submitted),
            200: ("The run that was submitted under this key before", schemas.Submitted),
        },
        (404, 409, 413, 422),
        body=_WORKFLOW_BODY,
        parameters=(_KEY,),
    ),
    "createUpload": _Operation({201: ("Where to PUT the file", schemas.Upload)}),
    "listRuns": _Operation({200: ("A page of runs", schemas.Run)}, is_list=True),
    "findRun": _Operation({200: ("The run", schemas.Run)}, (404,)),
    "showRun": _Operation({200: ("The run", schemas.Run)}, (404,)),
    "listChanges": _Operation({200: ("What happened", schemas.Changes)}, (404,)),
    "cancelRun": _Operation(
        {
            200: ("The run has ended", schemas.Run),
            202: ("The run ends when its active tasks have", schemas.Run),
        },
        (404, 409),
    ),
    "addTasks": _Operation(
        {
            201: ("They joined the run", schemas.Added),
            200: ("They had joined under this key before", schemas.Added),
        },
        (404, 409, 413, 422),
        body=_TASKS_BODY,
        parameters=(
            {
                **_KEY,
                "description": "The same key and body add the tasks once, another body gives 409. "
                "Keys of different callers and runs never meet.",
            },
        ),
    ),
    "releaseRun": _Operation({200: ("The run", schemas.Run)}, (404, 409)),
    "closeRun": _Operation({200: ("The run", schemas.Run)}, (404, 409)),
    "retryRun": _Operation(
        {202: ("The run goes on", schemas.Repeated)}, (404, 409), body=_RETRY_BODY
    ),
    "listFailures": _Operation(
        {200: ("A page of failed attempts", schemas.Failure)}, (404,), is_list=True
    ),
    "listTasks": _Operation({200: ("A page of tasks", schemas.Task)}, (404,), is_list=True),
    "showTask": _Operation({200: ("The task", schemas.Task)}, (404,)),
    "showScript": _Operation({200: ("The script", None)}, (404, 409, 413)),
    "explainTask": _Operation({200: ("An answer", schemas.Why)}, (404,)),
    "readOutput": _Operation({200: ("A piece of the log", schemas.LogPage)}, (404, 409)),
    "readError": _Operation({200: ("A piece of the log", schemas.MergedLogPage)}, (404, 409)),
    "readDocument": _Operation({200: ("The document", schemas.OutputDocument)}, (404, 409)),
    "listDefinitions": _Operation({200: ("A page of tasks", schemas.Definition)}, is_list=True),
    "registerTask": _Operation(_REGISTERED, (409, 413, 422), body=_DEFINITION_BODY),
    "replaceTask": _Operation(_REGISTERED, (409, 413, 422), body=_DEFINITION_BODY),
    "removeTask": _Operation({200: ("It is gone", schemas.RemovedDefinition)}, (404,)),
    "listAudit": _Operation({200: ("A page of the record", schemas.AuditEntry)}, is_list=True),
    "listJobs": _Operation({200: ("A page of jobs", schemas.Job)}, is_list=True),
    "showConfig": _Operation({200: ("The current version", schemas.Config)}),
    "listConfigVersions": _Operation(
        {200: ("A page of versions", schemas.ConfigVersion)}, is_list=True
    ),
    "showConfigVersion": _Operation({200: ("The version", schemas.Config)}, (404,)),
    "applyConfig": _Operation(
        _CHANGED,
        (409, 413, 422, 428),
        body=_CONFIG_BODY,
        parameters=({**_IF_MATCH, "description": f"{_IF_MATCH['description']} Needed here."},),
    ),
    "listBackends": _Operation(
        {200: ("All backends, the default first", schemas.Backend)}, is_list=True
    ),
    "showBackend": _Operation({200: ("The backend", schemas.Backend)}, (404,)),
    "putBackend": _Operation(
        _CHANGED, (404, 409, 413, 422), body=_BACKEND_BODY, parameters=(_IF_MATCH,)
    ),
    "deleteBackend": _Operation(_CHANGED, (404, 409, 422), parameters=(_IF_MATCH,)),
    "listEnvironments": _Operation(
        {200: ("All environments", schemas.EnvironmentDocument)}, is_list=True
    ),
    "showEnvironment": _Operation({200: ("The environment", schemas.EnvironmentDocument)}, (404,)),
    "putEnvironment": _Operation(
        _CHANGED, (404, 409, 413, 422), body=_ENVIRONMENT_BODY, parameters=(_IF_MATCH,)
    ),
    "listPools": _Operation({200: ("All pools", pool_schemas.Pool)}, is_list=True),
    "showPool": _Operation({200: ("The pool", pool_schemas.Pool)}, (404,)),
    "drainPool": _Operation({200: ("It gives nothing out", pool_schemas.Pool)}, (404,)),
    "resumePool": _Operation({200: ("It gives out again", pool_schemas.Pool)}, (404,)),
    "drainWorker": _Operation({200: ("It gets nothing new", pool_schemas.Pool)}, (404,)),
    "resumeWorker": _Operation({200: ("It gets tasks again", pool_schemas.Pool)}, (404,)),
    "joinPool": _Operation(
        {201: ("The worker belongs to the pool", pool_schemas.Welcome)}, (404,), body=_JOIN_BODY
    ),
    "takeTurn": _Operation(
        {200: ("What it gets, and is told", pool_schemas.Answer)}, (404, 409), body=_TURN_BODY
    ),
    "leavePool": _Operation({200: ("It is gone", pool_schemas.Left)}, (404,)),
    "deleteEnvironment": _Operation(_CHANGED, (404, 409, 422), parameters=(_IF_MATCH,)),
}
_ALWAYS = (400, 403, 413, 429, 500, 503)
_GATEWAYS = (403, 413, 429, 500, 503)
"""What API Gateway answers by itself too: who does not sign or may not, too much at once."""
_TEXTS = {"describeApi": {_JSON: {"schema": {"type": "object"}}}}
_PLAIN = {"text/plain": {"schema": {"type": "string"}}}
_NEXT_PAGE = {
    "X-Next-Cursor": {
        "description": "`cursor` of the next page; missing on the last one.",
        "schema": {"type": "string"},
    },
    "Link": {"description": "The next page (RFC 8288).", "schema": {"type": "string"}},
}
_ETAG = {"ETag": {"description": "The version, for `If-Match`.", "schema": {"type": "string"}}}
_LOCATION = {"Location": {"description": "Path of the run.", "schema": {"type": "string"}}}


@cache
def openapi_text() -> str:
    """Return the document as JSON text."""
    return json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"


def openapi_document() -> dict[str, Any]:
    """Return the document: OpenAPI 3.1."""
    found = json.loads(
        api.get_openapi_json_schema(title="Hut", version=__version__, description=_DESCRIPTION)
    )
    paths: dict[str, Any] = found["paths"]
    for methods in paths.values():
        for operation in methods.values():
            _complete(operation, _OPERATIONS[operation["operationId"]])
    return {
        "openapi": found["openapi"],
        "info": found["info"],
        "security": [{"sigv4": []}],
        "paths": {path: paths[path] for path in sorted(paths)},
        "components": {
            "schemas": _schemas(),
            "responses": _problems(),
            "securitySchemes": {
                "sigv4": {
                    "type": "apiKey",
                    "name": "Authorization",
                    "in": "header",
                    "description": "AWS Signature Version 4 for the service execute-api.",
                    "x-amazon-apigateway-authtype": "awsSigv4",
                }
            },
        },
    }


def _complete(operation: dict[str, Any], known: _Operation) -> None:
    """Add to what powertools wrote of an operation."""
    name = operation["operationId"]
    parameters = [_tidy(entry) for entry in operation.get("parameters", ())]
    if parameters or known.parameters:
        operation["parameters"] = [*parameters, *known.parameters]
    if known.body is not None:
        operation["requestBody"] = known.body
    responses: dict[str, Any] = {}
    for status, (description, model) in known.answers.items():
        if model is None:
            content = _TEXTS.get(name, _PLAIN)
        else:
            schema: dict[str, Any] = {"$ref": _REF.format(model=model.__name__)}
            if known.is_list:
                schema = {"type": "array", "items": schema}
            content = {_JSON: {"schema": schema}}
        response: dict[str, Any] = {"description": description, "content": content}
        if known.is_list:
            response["headers"] = _NEXT_PAGE
        if model is schemas.Submitted:
            response["headers"] = _LOCATION
        if model in (schemas.Config, schemas.ConfigChange):
            response["headers"] = _ETAG
        responses[str(status)] = response
    for status in sorted({*_ALWAYS, *known.problems}):
        responses[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
    operation["responses"] = responses


def _tidy(parameter: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter without what its schema says twice, and without a null nobody can send."""
    schema = {k: v for k, v in parameter["schema"].items() if k not in ("title", "description")}
    kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
    for kind in kinds:
        schema |= kind
    for bound in schema.keys() & {"minimum", "maximum"}:
        schema[bound] = int(schema[bound])
    order = ("name", "in", "required", "description")
    return {**{key: parameter[key] for key in order if key in parameter}, "schema": schema}


def _problems() -> dict[str, Any]:
    """Return the answers that tell of problems."""
    statuses = {status for known in _OPERATIONS.values() for status in known.problems}
    own = {PROBLEM_TYPE: {"schema": {"$ref": _REF.format(model="ProblemDocument")}}}
    gateways = {_JSON: {"schema": {"$ref": _REF.format(model="GatewayMessage")}}}
    return {
        f"Problem{status}": {
            "description": TITLES[status],
            "content": {**own, **gateways} if status in _GATEWAYS else own,
        }
        for status in sorted({*_ALWAYS, *statuses})
    }


def _schemas() -> dict[str, Any]:
    """Return the schemas of all bodies and answers."""
    answered: set[type[BaseModel]] = {schemas.ProblemDocument}
    answered |= {
        model
        for operation in _OPERATIONS.values()
        for _, model in operation.answers.values()
        if model is not None
    }
    _, answers = models_json_schema(
        [(model, "serialization") for model in answered],
        ref_template=_REF,
    )
    _, bodies = models_json_schema(
        [
            (body, "validation")
            for body in (AddBody, Envelope, RetryBody, pool_schemas.Join, pool_schemas.Turn)
        ],
        ref_template=_REF,
    )
    found = {
        **answers["$defs"],
        **bodies["$defs"],
        "Workflow": schemas.WORKFLOW,
        "WorkflowTask": schemas.WORKFLOW_TASK,
        **schemas.CONFIG_BODIES,
        "GatewayMessage": schemas.GATEWAY_MESSAGE,
    }
    return {name: found[name] for name in sorted(found)}
