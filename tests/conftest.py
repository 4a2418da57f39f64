"""What holds for every test."""

from hypothesis import settings

# No test fails because the machine is busy.
settings.register_profile("busy machines", deadline=None)
settings.load_profile("busy machines")
