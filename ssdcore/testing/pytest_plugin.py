"""Tests the plugin contract by one line in the pytest settings of a plugin:

    [tool.pytest.ini_options]
    ssd_backbones = ["pond"]

Each check of each backbone named there becomes a test, unless single tests are selected (`pytest file.py::test`).
Without the setting nothing heavy is imported.
"""

from collections.abc import Callable
from typing import Any

import pytest

SETTING = "ssd_backbones"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(SETTING, "backbones whose plugin contract is tested", type="args", default=[])


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    names = config.getini(SETTING)
    if not names or any("::" in argument for argument in config.args):  # single tests are selected
        return
    from ssdcore.contract.plugins import load_plugins
    from ssdcore.errors import PluginError

    plugins = load_plugins()
    try:
        backbones = [plugins.backbone(name) for name in names]
    except PluginError as error:
        raise pytest.UsageError(f"{SETTING}: {error}") from None
    from ssdcore.testing.checks import CHECKS
    from ssdcore.testing.subject import Subject

    make = ContractItem.from_parent
    for one in backbones:
        subject = Subject(one, plugins)
        items += [make(session, name=f"{one.name}: {check.__name__}", check=check, subject=subject) for check in CHECKS]


class ContractItem(pytest.Item):
    """One check of one backbone."""

    def __init__(self, *, check: Callable[[Any], None], subject: Any, **options: Any) -> None:
        super().__init__(**options)
        self._check, self._subject = check, subject

    def runtest(self) -> None:
        from ssdcore.testing.contract import result_of

        result = result_of(self._check, self._subject)
        if result.not_run:
            pytest.skip(result.not_run)
        if result.failure:
            pytest.fail(result.failure, pytrace=False)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.path, None, self.name
