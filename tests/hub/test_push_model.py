"""The push protocol keeps its promises, whatever happens in whatever order."""

from hypothesis import HealthCheck, settings

from tests.hub.push_model import PushMachine

TestPush = PushMachine.TestCase
TestPush.settings = settings(
    max_examples=300,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
