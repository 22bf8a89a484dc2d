"""The CDK app: `cdk deploy` starts here. It has no stacks yet: Hut runs on one machine so far."""

from aws_cdk import App

app = App()
app.synth()
