"""A Lambda of its own: empties a bucket when CloudFormation is about to delete it.

Its source is put into the template as it is, so it uses only what the Lambda runtime brings. It
stands in for the CDK's own (in Node), which a test bed for Python functions can't run.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import boto3

__all__ = ["handler"]


def handler(event: dict[str, Any], context: Any) -> None:
    """Answer a request of CloudFormation about the custom resource."""
    bucket = event["ResourceProperties"]["Bucket"]
    status, reason = "SUCCESS", ""
    try:
        if event["RequestType"] == "Delete":
            empty(bucket)
    except Exception as error:  # noqa: BLE001 - without an answer the stack would wait for an hour
        status, reason = "FAILED", f"{type(error).__name__}: {error}"
    answer = {
        "Status": status,
        "Reason": reason or f"see {context.log_stream_name}",
        "PhysicalResourceId": bucket,
        **{key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")},
    }
    request = urllib.request.Request(  # noqa: S310 - an https address CloudFormation gave
        event["ResponseURL"],
        data=json.dumps(answer).encode(),
        headers={"Content-Type": ""},
        method="PUT",
    )
    urllib.request.urlopen(request).close()  # noqa: S310


def empty(bucket: str) -> None:
    """Delete all objects of a bucket; one that is gone already is empty."""
    client = boto3.client("s3")
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            if keys := [{"Key": entry["Key"]} for entry in page.get("Contents", ())]:
                done = client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
                if failed := done.get("Errors"):
                    raise RuntimeError(f"{len(failed)} objects stay, the first: {failed[0]}")
    except client.exceptions.NoSuchBucket:
        return
