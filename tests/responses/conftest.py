"""Property tests here take their length from a profile."""

from tests.support import profiles

profiles.load()
