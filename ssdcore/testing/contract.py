"""The checks of a backbone, in order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ssdcore.contract.backbones import Backbone
from ssdcore.contract.plugins import Plugins, load_plugins
from ssdcore.errors import PluginError, SsdError
from ssdcore.testing.checks import CHECKS
from ssdcore.testing.subject import NotRunError, Subject


@dataclass(frozen=True)
class Result:
    """The result of a check.

    Attributes:
        name: of the check.
        states: what it checks, in a sentence.
        failure: what is wrong and what to change; None if it passed.
        not_run: why it was not run: it needs a part that an earlier check found broken; None if it was run.
    """

    name: str
    states: str
    failure: str | None
    not_run: str | None = None


def run_checks(backbone: Backbone, plugins: Plugins | None = None) -> Iterator[Result]:
    """Runs all checks in order, skipping those that need a part that an earlier one found broken.

    Args:
        backbone: what to check.
        plugins: that name its feature layers; None: the installed ones.
    """
    subject = Subject(backbone, plugins or load_plugins())
    for check in CHECKS:
        yield result_of(check, subject)


def result_of(check: Callable[[Subject], None], subject: Subject) -> Result:
    """Runs one check."""
    failure = not_run = None
    try:
        check(subject)
    except NotRunError as error:
        not_run = str(error)
    except SsdError as error:
        failure = str(error)
    except Exception as error:  # a plugin may raise anything
        failure = f"{type(error).__name__}: {' '.join(str(error).split()):.500}"
    return Result(check.__name__, (check.__doc__ or "").strip(), failure, not_run)


def check_backbone(backbone: Backbone | str, plugins: Plugins | None = None) -> None:
    """Checks a backbone against the plugin contract, with each SSD model that it has feature layers for.

    Args:
        backbone: what to check, or its name.
        plugins: that provide the backbone and its feature layers; None: the installed ones.

    Raises:
        PluginError: the first failure, with what to change.
    """
    plugins = plugins or load_plugins()
    subject = plugins.backbone(backbone) if isinstance(backbone, str) else backbone
    for result in run_checks(subject, plugins):
        if result.failure:
            raise PluginError(f"backbone {subject.name!r}: {result.name}: {result.failure}")
