"""How hard to try: a little in every run, the same each time; a lot with `-m slow`; guided by branches on demand."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "quick",
    derandomize=True,
    max_examples=40,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("long", settings.get_profile("quick"), derandomize=False, max_examples=3000, print_blob=True)


@pytest.fixture(params=["quick", pytest.param("long", marks=pytest.mark.slow)])
def effort(request: pytest.FixtureRequest) -> Any:
    """Hypothesis's settings for a test, or what stands for them: `effort(given(…)(check))()`."""
    return getattr(request.config, "guided", None) or settings.get_profile(request.param)
