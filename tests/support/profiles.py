"""Hypothesis profiles: ``normal``, or many more examples with HYPOTHESIS_PROFILE=long."""

import os

from hypothesis import HealthCheck, Phase, settings

PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink)
SLOW = [HealthCheck.too_slow]  # a busy machine is no failure


def load() -> None:
    settings.register_profile(
        "normal",
        max_examples=400,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        phases=PHASES,
        suppress_health_check=SLOW,
    )
    settings.register_profile(
        "long",
        max_examples=5000,
        stateful_step_count=60,  # the oracle reads the whole history at each step
        deadline=None,
        phases=PHASES,
        print_blob=True,
        suppress_health_check=SLOW,
    )
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "normal"))
