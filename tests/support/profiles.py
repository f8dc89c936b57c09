"""How long the property tests look: HYPOTHESIS_PROFILE=long looks much longer."""

import os

from hypothesis import HealthCheck, Phase, settings

PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink)
SLOW = [HealthCheck.too_slow]  # two cores that others use as well


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
        stateful_step_count=60,  # a history carries 64 unanswered turns along, the oracle all
        deadline=None,
        phases=PHASES,
        print_blob=True,
        suppress_health_check=SLOW,
    )
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "normal"))
