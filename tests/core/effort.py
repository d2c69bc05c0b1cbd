"""How hard the models are tried: quickly in every test run, thoroughly by `make models`.

`make mutants` asks only whether a model fails, so it skips the search for the shortest failure.
"""

import os

from hypothesis import HealthCheck, Phase, settings

LEVEL = os.environ.get("RELAYPOST_MODELS", "quick")
THOROUGH = LEVEL == "thorough"

EFFORT = settings(
    max_examples=10_000 if THOROUGH else 200,
    stateful_step_count=20,
    derandomize=not THOROUGH,
    phases=[Phase.generate] if LEVEL == "mutants" else [Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
