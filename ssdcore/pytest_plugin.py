"""Lets a plugin's author have the contract tested by one line in the settings of pytest:

    [tool.pytest.ini_options]
    ssd_backbones = ["pond"]

Every check of every backbone named there is then a test. Elsewhere nothing heavy is imported.
"""

from collections.abc import Callable
from typing import Any

import pytest

SETTING = "ssd_backbones"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(SETTING, "backbones whose plugin contract is tested", type="args", default=[])


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    for name in config.getini(SETTING):
        items += _tests_of(session, name)


def _tests_of(session: pytest.Session, name: str) -> list[pytest.Item]:
    from ssdcore.plugins import load_plugins
    from ssdcore.testing.contract import CHECKS
    from ssdcore.testing.subject import Subject

    plugins = load_plugins()
    subject = Subject(plugins.backbone(name), plugins)
    return [
        ContractItem.from_parent(session, name=f"{name}: {check.__name__}", check=check, subject=subject)
        for check in CHECKS
    ]


class ContractItem(pytest.Item):
    """One check of one backbone."""

    def __init__(self, *, check: Callable[[Any], None], subject: Any, **options: Any) -> None:
        super().__init__(**options)
        self._check, self._subject = check, subject

    def runtest(self) -> None:
        from ssdcore.testing.contract import fault_of

        fault = fault_of(self._check, self._subject)
        if fault:
            pytest.fail(fault, pytrace=False)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.path, None, self.name
