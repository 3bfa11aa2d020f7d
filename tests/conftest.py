"""The order of the tests: long files come first, so that two processes end together."""

from collections import Counter


def pytest_collection_modifyitems(items):
    sizes = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    # Of the files with slow tests, those of few tests have the slowest.
    items.sort(key=lambda item: (0, sizes[item.path]) if item.path in slow else (1, 0))
