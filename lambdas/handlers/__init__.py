"""The Lambda functions, one module each: parse the event, call one use case, answer.

While a function starts, Python looks for no garbage: nothing that is imported is, and to look for it
again and again takes a sixth of a cold start. `handlers.wiring` lets it look once all is there.
"""

import gc
import os

if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    gc.disable()
