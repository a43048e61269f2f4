"""The migration and plugin pages name only keys, commands and options that exist."""

import re
import shlex
from pathlib import Path

import click
import pytest
from ssdcli.main import cli

from ssdcore.contract.plugins import Plugins
from ssdcore.params import ParamSet
from ssdcore.params.base import known_keys

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("migrating.md", "plugins/tutorial.md", "plugins/hooks.md")
TOP = "|".join(ParamSet.model_fields)
KEY = re.compile(rf"(?:{TOP})(?:\.\w+(?:\[\])?)*(?:=.+)?")

# The flags of SSD-Tensorflow's scripts and the fields of modular_SSD_tensorflow's parameter sets.
TRAIN_FLAGS = """loss_alpha negative_ratio match_threshold train_dir num_clones clone_on_cpu num_readers
num_preprocessing_threads log_every_n_steps save_summaries_secs save_interval_secs gpu_memory_fraction weight_decay
optimizer adadelta_rho adagrad_initial_accumulator_value adam_beta1 adam_beta2 opt_epsilon ftrl_learning_rate_power
ftrl_initial_accumulator_value ftrl_l1 ftrl_l2 momentum rmsprop_momentum rmsprop_decay learning_rate_decay_type
learning_rate end_learning_rate label_smoothing learning_rate_decay_factor num_epochs_per_decay moving_average_decay
dataset_name dataset_split_name dataset_dir num_classes labels_offset model_name preprocessing_name batch_size
train_image_size max_number_of_steps checkpoint_path checkpoint_model_scope checkpoint_exclude_scopes
trainable_scopes ignore_missing_vars"""
EVAL_FLAGS = """select_threshold select_top_k keep_top_k nms_threshold matching_threshold eval_resize eval_image_size
remove_difficult num_classes batch_size max_num_batches master checkpoint_path eval_dir num_preprocessing_threads
dataset_name dataset_split_name dataset_dir gpu_memory_fraction model_name preprocessing_name wait_for_checkpoints
moving_average_decay"""
OTHER_FLAGS = """dataset_name dataset_dir output_name output_dir model_name num_classes caffemodel_path file_name
tensor_name all_tensors printoptions"""
TRAINER_FIELDS = """feature_extractor model_name fine_tune_fe train_dir checkpoint_path ignore_missing_vars
learning_rate learning_rate_decay_type learning_rate_decay_factor num_epochs_per_decay end_learning_rate
max_number_of_steps optimizer weight_decay batch_size log_every_n_steps save_interval_secs save_summaries_secs
labels_offset matched_thresholds"""
EVALUATOR_FIELDS = "checkpoint_path eval_dir use_finetune is_training eval_train_dataset loop which_checkpoint"


def text_of(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


def code_of(page: str) -> list[str]:
    """Everything in backticks, and the lines of shell blocks."""
    text = text_of(page)
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return spans + [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def keys_of(page: str) -> list[str]:
    return [code for code in code_of(page) if KEY.fullmatch(code) and "." in code]


def commands_of(page: str) -> list[str]:
    return [code for code in code_of(page) if re.match(r"ssd [a-z]", code)]


def require_key(key: str) -> None:
    """Asserts that each part is a key of the part before it."""
    path: list[str] = []
    for part in key.partition("=")[0].split("."):
        name = part.removesuffix("[]")
        if name.isdecimal():
            continue
        assert name in known_keys(ParamSet, path), f"{key}: no {name!r} in {'.'.join(path) or 'a param set'}"
        path.append(name)


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command at the start of the words, and the remaining words."""
    found: click.Command = cli
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in found.commands, f"no command {words[0]!r} in {found.name}"
        found, words = found.commands[words[0]], words[1:]
    return found, words


@pytest.mark.parametrize("page", PAGES)
def test_every_key_exists(page: str) -> None:
    found = keys_of(page)
    assert len(found) >= 1
    for key in found:
        require_key(key)


def test_keys_are_extracted() -> None:
    """Some well-known ones, so that the extraction cannot silently find nothing."""
    found = keys_of("migrating.md")
    assert len(found) > 50
    assert {"train.stages[].optimizer.kind", "eval.keep", "train.loss.mining=batch", "model.weight_decay"} <= set(found)


@pytest.mark.parametrize("key", ["train.stages[].optimiser.kind", "model.weight", "train.loss.mining.kind"])
def test_an_unknown_key_is_detected(key: str) -> None:
    with pytest.raises(AssertionError, match="no '"):
        require_key(key)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_exists(page: str) -> None:
    found = commands_of(page)
    assert len(found) >= 3
    for line in found:
        command, rest = command_of(shlex.split(line, comments=True)[1:])
        options = {name for option in command.params for name in option.opts} | {"--help", "--version"}
        named = [word.partition("=")[0] for word in rest if word.startswith("--")]
        assert set(named) <= options, f"{line}: {set(named) - options}"
        for word in rest:
            if re.fullmatch(rf"(?:{TOP})(?:\.\w+)*=.*", word):
                require_key(word)


def test_shell_blocks_are_included() -> None:
    assert any("train.eval_every=5" in line for line in commands_of("plugins/tutorial.md"))
    with pytest.raises(AssertionError, match="no command 'convrt'"):
        command_of(["data", "convrt"])


def test_every_param_set_exists(plugins: Plugins) -> None:
    named = set(re.findall(r"`((?:modular|ssd-tensorflow)-[\w-]*\d)`", text_of("migrating.md")))
    assert named
    assert named <= set(plugins.param_sets)


@pytest.mark.parametrize(
    ("heading", "flags"),
    [
        ("train_ssd_network.py", TRAIN_FLAGS),
        ("eval_ssd_network.py", EVAL_FLAGS),
        ("Other scripts of SSD-Tensorflow", OTHER_FLAGS),
        ("modular_SSD_tensorflow: TrainerParams", TRAINER_FIELDS),
        ("modular_SSD_tensorflow: EvaluatorParams and new_demo.py", EVALUATOR_FIELDS),
    ],
)
def test_every_flag_of_the_projects_has_a_row(heading: str, flags: str) -> None:
    below = text_of("migrating.md").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    left = [row.split("|")[1] for row in below.splitlines() if row.startswith("| `")]
    documented = [name for cell in left for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(flags.split())
