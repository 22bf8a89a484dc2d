"""Where a test bed is: what AWS SDKs and the CLI read from the environment."""

from __future__ import annotations

import os

REGION = "us-east-1"
ACCOUNT = "000000000000"


def aws_variables(url: str) -> dict[str, str]:
    """Return the variables that point to a test bed, and to no file of a person."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def without_aws(environment: dict[str, str]) -> dict[str, str]:
    """Leave out what an environment says about AWS."""
    return {name: value for name, value in environment.items() if not name.startswith("AWS_")}
