"""What these tests need where the folder stands alone, without the project's pytest settings."""

from __future__ import annotations


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
