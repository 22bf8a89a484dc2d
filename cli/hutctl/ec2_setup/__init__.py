"""What ``hutctl setup ec2`` looks at in an account, how it chooses, and how it writes ``hut.yaml``."""
