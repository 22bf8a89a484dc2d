"""Batch's registry of job definitions in memory; requests are checked against AWS's own model of it.

moto finds no definition by ``name:revision``, and keeps no tags of them.
"""

from __future__ import annotations

import copy
from typing import Any

import botocore.session
from botocore.validate import validate_parameters

_MODEL = botocore.session.get_session().get_service_model("batch")
ARN = "arn:aws:batch:us-east-1:111122223333:job-definition/"


class FakeRegistry:
    """A client for job definitions.

    Attributes
    ----------
    calls : list of str
        What was asked, in order.
    """

    def __init__(self) -> None:
        self.definitions: list[dict[str, Any]] = []
        self.calls: list[str] = []

    @property
    def registered(self) -> int:
        return self.calls.count("RegisterJobDefinition")

    def register_job_definition(self, **given: Any) -> dict[str, Any]:
        self._note("RegisterJobDefinition", given)
        name = given["jobDefinitionName"]
        revision = 1 + sum(one["jobDefinitionName"] == name for one in self.definitions)
        made = {
            **copy.deepcopy(given),
            "jobDefinitionArn": f"{ARN}{name}:{revision}",
            "revision": revision,
            "status": "ACTIVE",
            "containerOrchestrationType": "ECS",
        }
        for key in ("parameters", "tags"):
            made.setdefault(key, {})
        for key in ("volumes", "mountPoints", "environment", "secrets", "ulimits"):
            made.get("containerProperties", {}).setdefault(
                key, []
            )  # as AWS shows what is not there
        self.definitions.append(made)
        return {key: made[key] for key in ("jobDefinitionName", "jobDefinitionArn", "revision")}

    def deregister_job_definition(self, **given: Any) -> None:
        self._note("DeregisterJobDefinition", given)
        for one in self.definitions:
            if one["jobDefinitionArn"].endswith("/" + given["jobDefinition"].rpartition("/")[2]):
                one["status"] = "INACTIVE"

    def describe_job_definitions(self, **given: Any) -> dict[str, Any]:
        self._note("DescribeJobDefinitions", given)
        if "jobDefinitions" in given:
            wanted = {f"{ARN}{one.rpartition('/')[2]}" for one in given["jobDefinitions"]}
            found = [one for one in self.definitions if one["jobDefinitionArn"] in wanted]
        else:
            found = [
                one
                for one in reversed(self.definitions)
                if one["jobDefinitionName"] == given["jobDefinitionName"]
                and one["status"] == given.get("status", one["status"])
            ]
        return {"jobDefinitions": copy.deepcopy(found)}

    def get_paginator(self, operation: str) -> Any:
        assert operation == "describe_job_definitions"
        return self

    def paginate(self, **given: Any) -> Any:
        """Yield pages of one, so that nobody gets by with the first."""
        for one in self.describe_job_definitions(**given)["jobDefinitions"]:
            yield {"jobDefinitions": [one]}

    def _note(self, operation: str, given: dict[str, Any]) -> None:
        validate_parameters(given, _MODEL.operation_model(operation).input_shape)
        self.calls.append(operation)
