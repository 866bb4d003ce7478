"""Every knob of the recorded configs refuses a number below its range and a word it does not know.

Nothing is compiled: what cannot work is found when the config is built.
"""

from collections.abc import Iterator

import pytest
from ml_collections import ConfigDict

from ssl_jax import config
from ssl_jax.config import ConfigError

CONFIGS = (
    "image/autoencoder_mnist.py:tiny",
    "image/bootstrap_cifar10.py:tiny",
    "image/colorization_imagenet.py:tiny",
    "image/inpainting_imagenet.py:tiny",
    "image/jigsaw_imagenet.py:tiny",
    "image/relative_position_imagenet.py:tiny",
    "image/rotation_cifar10.py:tiny",
    "image/simclr_cifar10.py:tiny",
    "image/split_brain_imagenet.py:tiny",
    "image/triplet_exemplar_imagenet.py:tiny",
    "audio/correspondence_audioset.py:tiny",
    "video/clip_order_ucf101.py:tiny",
    "video/cross_and_learn_ucf101.py:tiny",
    "video/order_prediction_ucf101.py:tiny",
    "finetune/voc2007.py:tiny",
    "quickstart.py:tiny",
)

# Text that only a run can judge, as it names a stream, layer, fact, file or run.
NAMES = {"stream", "query", "gallery", "text", "video", "other", "layer", "kernel", "fold_key"}
NAMES |= {"relevance", "file", "resume", "init_from"}
# What only the whole experiment can judge; tried below.
OF_THE_WHOLE = {"every", "keep_best"}
# Of pixels, which may be of either sign.
PIXELS = {"mean", "fill"}


def groups(node: ConfigDict, path: str = "") -> Iterator[tuple[str, ConfigDict]]:
    """Each recorded call of a config, with its place."""
    for name, value in node.items():
        if isinstance(value, ConfigDict):
            yield from groups(value, f"{path}.{name}".removeprefix("."))
    if "call" in node:
        yield path, node


def out_of_range(value: object) -> object:
    """A value of the same type that no knob takes; None if there is none to try."""
    match value:
        case bool():
            return None
        case int() | float():
            return type(value)(-1)
        case str():
            return "nonsense"
        case (int() | float(), *_):
            return tuple(map(out_of_range, value))
    return None


def once_a_class() -> Iterator[tuple[str, ConfigDict]]:
    """The recorded calls of all configs, with their places; of each class the first."""
    seen = set()
    for name in CONFIGS:
        for place, group in groups(config.load(name)):
            if group.call not in seen:
                seen.add(group.call)
                yield place, group


def test_a_value_out_of_range_is_refused_by_the_knobs_name():
    taken = []
    for place, group in once_a_class():
        for knob, value in group.items():
            wrong = out_of_range(value)
            if knob in {"call", *NAMES, *PIXELS, *OF_THE_WHOLE} or wrong is None:
                continue
            with group.ignore_type():
                group[knob] = wrong
            try:
                config.build(group, place=place)
            except ConfigError as error:
                line = str(error)
                assert line.startswith(place), line
                assert knob in line, line
                assert "\n" not in line, line
            else:
                taken.append(f"{place}.{knob}={wrong}")
            group[knob] = value
    assert taken == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("evaluators.geometry.every", -1, r"evaluators\.geometry\.every=-1 must be at least 0"),
        ("checkpoints.keep_best", "nonsense", r"checkpoints\.keep_best=nonsense: no evaluator"),
        ("seed", 2**63, "seed=9223372036854775808 must be below 9223372036854775808"),
        ("profile", (5, 2), r"profile=\(5, 2\) should be the first and last step"),
        ("method.area", (1.0, 0.1), r"method: area=\(1.0, 0.1\) must be the smallest and the"),
        ("method.area", (0.1, 1.5), r"method: area=\(0.1, 1.5\): each must be from 0 to 1"),
        ("optimizer.learning_rate", float("nan"), "optimizer: learning_rate=nan must be at least"),
        ("method.temperature", 0.0, "method: temperature=0.0 must be above 0"),
        ("method.vision.width", 0.0, r"method\.vision: width=0.0 must be above 0"),
        ("optimizer.beta2", 1.0, "optimizer: beta2=1.0 must be below 1"),
    ],
)
def test_a_knob_out_of_range_is_one_line(path, value, message):
    changed = config.load("image/simclr_cifar10.py:tiny")
    config.override(changed, path, value)
    with pytest.raises(ConfigError, match=rf"^{message}"):
        config.build(changed)
