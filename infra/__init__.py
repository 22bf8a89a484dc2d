"""What Hut is made of in an AWS account, as CDK stacks and constructs."""
