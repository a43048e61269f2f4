"""All checks of a backbone in their order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ssdcore.contract.backbones import Backbone
from ssdcore.contract.plugins import Plugins, load_plugins
from ssdcore.errors import PluginError, SsdError
from ssdcore.testing import checks
from ssdcore.testing.subject import NotRunError, Subject

CHECKS: tuple[Callable[[Subject], None], ...] = (
    checks.import_is_light,
    checks.base_net_gives_maps,
    checks.leaves_the_process_alone,
    checks.convolutional_only,
    checks.scope_is_applied,
    checks.preprocessing_is_plausible,
    checks.feature_layers_fit,
    checks.other_sizes_follow,
    checks.mixed_precision_fits,
    checks.gradients_reach_everything,
    checks.evaluation_is_still,
    checks.save_and_load_give_the_same,
    checks.exports_to_a_graph,
)


@dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
        name: of the check.
        states: what it makes sure of, in a sentence.
        fault: what is wrong and what to change; None if nothing is.
        not_run: why it was not run: an earlier fault left nothing to look at; None if it was.
    """

    name: str
    states: str
    fault: str | None
    not_run: str | None = None


def run_checks(backbone: Backbone, plugins: Plugins) -> Iterator[Result]:
    """Runs each check in turn; the later ones go on if an earlier one fails, unless they need what it found broken."""
    subject = Subject(backbone, plugins)
    for check in CHECKS:
        yield result_of(check, subject)


def result_of(check: Callable[[Subject], None], subject: Subject) -> Result:
    """What a check finds."""
    name, states = check.__name__, (check.__doc__ or "").strip()
    try:
        return Result(name, states, fault_of(check, subject))
    except NotRunError as error:
        return Result(name, states, None, str(error))


def fault_of(check: Callable[[Subject], None], subject: Subject) -> str | None:
    """What a check finds wrong with a backbone; None if nothing is.

    Raises:
        NotRunError: an earlier check has told what is wrong with a part that this one needs.
    """
    try:
        check(subject)
    except NotRunError:
        raise
    except SsdError as error:
        return str(error)
    except Exception as error:  # whatever a plugin raises is a fault of its own
        return f"{type(error).__name__}: {' '.join(str(error).split()):.500}"
    return None


def check_backbone(backbone: Backbone | str, plugins: Plugins | None = None) -> None:
    """Checks that a backbone keeps the contract, under each SSD model that it has feature layers for.

    Args:
        backbone: what to check, or its name.
        plugins: the installed plugins, this one among them; None loads them.

    Raises:
        PluginError: on the first fault, with what to change.
    """
    plugins = plugins or load_plugins()
    subject = plugins.backbone(backbone) if isinstance(backbone, str) else backbone
    for result in run_checks(subject, plugins):
        if result.fault:
            raise PluginError(f"backbone {subject.name!r}: {result.name}: {result.fault}")
