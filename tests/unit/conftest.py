"""How the unit tests search: the same examples in every run, and none judged by the clock.

``HYPOTHESIS_PROFILE=search`` looks at other, and more, examples each time.
"""

import os

from hypothesis import settings

settings.register_profile("unit", deadline=None, derandomize=True, database=None)
settings.register_profile("search", deadline=None, database=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "unit"))
