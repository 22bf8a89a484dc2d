"""The OpenAPI document: committed, complete, and what the handler serves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlers.openapi import main
from hut.rest import openapi, schemas
from hut.rest.bodies import Envelope
from tests.rest.answer_check import operations
from tests.rest.api_world import Api

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "openapi.json"


def test_the_committed_document_is_what_the_routes_say() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == openapi.openapi_text(), (
        "write it anew: python -m handlers.openapi docs/openapi.json"
    )


def test_the_command_compares_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "openapi.json"
    assert main(["--check", str(file)]) == 1
    assert main([str(file)]) == 0
    assert main(["--check", str(file)]) == 0
    capsys.readouterr()
    file.write_text(file.read_text().replace("/jobs", "/job"))
    assert main(["--check", str(file)]) == 1
    out, err = capsys.readouterr()
    assert '-    "/job": {' in out
    assert '+    "/jobs": {' in out
    assert "out of date" in err


def test_the_document_is_served(api: Api) -> None:
    answer = api.get("/openapi.json")
    assert answer.status == 200
    assert answer.json == json.loads(COMMITTED.read_text(encoding="utf-8"))


def test_every_operation_is_described() -> None:
    seen = set()
    for method, path, operation in operations():
        assert operation["summary"], path
        assert operation["operationId"] not in seen
        seen.add(operation["operationId"])
        assert {"400", "500"} <= operation["responses"].keys()
        for parameter in operation.get("parameters", ()):
            assert parameter["in"] in ("path", "query", "header")
        if method == "POST" and path in ("/plan", "/runs"):
            examples = operation["requestBody"]["content"]["application/json"]["examples"]
            assert examples.keys() == {"workflow", "envelope", "text", "upload"}
    document = openapi.openapi_document()
    assert document["openapi"].startswith("3.1")
    assert document["security"] == [{"sigv4": []}]
    assert seen == openapi._OPERATIONS.keys()


def test_every_reference_leads_somewhere() -> None:
    document = openapi.openapi_document()
    used = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                _, _, section, name = value["$ref"].split("/")
                assert name in document["components"][section], value
                used.add(name)
            for entry in value.values():
                look(entry)
        elif isinstance(value, list):
            for entry in value:
                look(entry)

    look(document)
    defined = {*document["components"]["schemas"], *document["components"]["responses"]}
    assert used == defined


def test_the_examples_work(api: Api) -> None:
    (body,) = (
        operation["requestBody"]["content"]["application/json"]["examples"]
        for method, path, operation in operations()
        if (method, path) == ("POST", "/runs")
    )
    api.uploads.texts["user/alice", body["upload"]["value"]["upload"]] = "[]"
    for name, example in body.items():
        expected = 422 if name == "upload" else 201
        assert api.post("/runs", example["value"]).status == expected, name


def test_models_and_documents_have_the_same_fields() -> None:
    assert set(schemas.Submitted.model_fields) - set(schemas.Run.model_fields) == {"warnings"}
    properties = openapi.openapi_document()["components"]["schemas"]["Envelope"]["properties"]
    assert properties.keys() == Envelope.model_fields.keys()


def test_importing_the_handler_loads_neither_models_nor_clients() -> None:
    code = (
        "import sys, handlers.api\n"
        "heavy = {'hut.rest.openapi', 'hut.rest.schemas', 'boto3', 'botocore.client', 'yaml', 'sqlite3',"
        " 'aws_lambda_powertools.event_handler.openapi.models'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
