"""The use cases of the control plane on AWS, over ports: advance, observe, sweep. No boto3."""
