"""The Lambda functions, one module each: parse the event, call one use case, answer."""
