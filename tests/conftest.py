"""What all tests share: their order, and how hypothesis runs."""

from collections import Counter

from hypothesis import settings

# A machine may stall at any moment: no test fails for the time it takes.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_modifyitems(items):
    """Puts files with slow tests first, so that no process ends with a long one."""
    sizes = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    # Of the files with slow tests, those of few tests have the slowest.
    items.sort(key=lambda item: (0, sizes[item.path]) if item.path in slow else (1, 0))
