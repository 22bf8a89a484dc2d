"""The EC2 backend: an instance for each attempt, through SSM and Step Functions."""
