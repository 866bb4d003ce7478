"""Presets: what many configs have in common. Data sets, and the experiment of a `:tiny` variant.

    train, probe, test = presets.imagenet()
    config = presets.tiny(call(Rotation, ...), presets.synthetic(16))

Everything here gives recorded calls, as a config file does. The run of a paper is not abbreviated
by any of it: optimizer, steps and evaluators stand in its config.
"""

from ml_collections import ConfigDict

from ssl_jax.config import call
from ssl_jax.data.sources.arcade import ArcadeSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.idx import IdxSource
from ssl_jax.data.sources.python_docs import PythonDocs
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.sources.tfds import TfdsSource
from ssl_jax.data.sources.token_blocks import TokenBlocks
from ssl_jax.data.tokenizers import Bytes
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.ridge import Ridge
from ssl_jax.evals.shortcuts import Shortcuts
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.optim import Optimizer

SIX_GAMES = ("seaquest", "enduro", "space_invaders", "beam_rider", "assault", "demon_attack")
TEN_GAMES = (
    *("assault", "beam_rider", "berzerk", "enduro", "hero"),
    *("ms_pacman", "phoenix", "riverraid", "seaquest", "space_invaders"),
)


def fashion_mnist(limit: int = 0) -> tuple[ConfigDict, ConfigDict, ConfigDict]:
    """Training, probe and test images of Fashion-MNIST, from the idx files in data/fashion_mnist.

    `limit`: the first so many to train on; 0 is all. Probes are trained and tested on 2,000 each.
    """
    path = "data/fashion_mnist"
    return (
        call(IdxSource, path=path, split="train", limit=limit),
        call(IdxSource, path=path, split="train", limit=2000),
        call(IdxSource, path=path, split="test", limit=2000),
    )


def cifar10() -> tuple[ConfigDict, ConfigDict, ConfigDict]:
    """Training, probe (all of training) and test images of CIFAR-10, prepared by TFDS."""
    train, test = (call(TfdsSource, name="cifar10", split=split) for split in ("train", "test"))
    return train, train, test


def imagenet() -> tuple[ConfigDict, ConfigDict, ConfigDict]:
    """Training, probe (a twentieth of training) and validation images, prepared by TFDS."""
    splits = ("train", "train[:5%]", "validation")
    train, probe, test = (call(TfdsSource, name="imagenet2012", split=split) for split in splits)
    return train, probe, test


def voc2007() -> tuple[ConfigDict, ConfigDict, ConfigDict]:
    """Training (and validation), probe (the same) and test images of VOC 2007, prepared by TFDS."""
    splits = ("train+validation", "test")
    train, test = (call(TfdsSource, name="voc/2007", split=split) for split in splits)
    return train, train, test


def ucf101(split: str, min_frames: int = 0) -> ConfigDict:
    """The videos of a split, 'train' or 'test', as data/ucf101/manifest.csv names them.

    `min_frames`: leave out what has fewer, too few for a method's clips.
    """
    return call(
        FolderSource,
        path="data/ucf101",
        manifest="manifest.csv",
        kinds=("video",),
        split=split,
        min_frames=min_frames,
    )


def arcade(games: tuple[str, ...], train: int, test: int, **knobs) -> tuple[ConfigDict, ConfigDict]:
    """Training and test clips of arcade games, so many of each game; `knobs` of ArcadeSource."""
    return (
        call(ArcadeSource, games=games, clips_per_game=train, **knobs),
        call(ArcadeSource, games=games, clips_per_game=test, split="test", **knobs),
    )


def python_docs(**knobs) -> tuple[ConfigDict, ConfigDict]:
    """Training and test documents of Python's own documentation; `knobs` of PythonDocs."""
    return call(PythonDocs, **knobs), call(PythonDocs, split="test", **knobs)


def python_blocks(length: int, **knobs) -> tuple[ConfigDict, ConfigDict]:
    """The same as blocks of bytes, of this length; `knobs` of PythonDocs."""
    return tuple(
        call(TokenBlocks, source=source, tokenizer=call(Bytes), length=length)
        for source in python_docs(**knobs)
    )


def audited(config: ConfigDict, **knobs) -> ConfigDict:
    """The same experiment, and the audit for shortcuts on the records of its 'pretext'.

    A run of the plain variant can be audited afterwards, by `python -m ssl_jax.evaluate` with this
    one and --only=shortcuts. `knobs`: of `Shortcuts`.
    """
    source = config.evaluators["pretext"].source
    knobs = {"source": source, "train": config.source, **knobs}
    config.evaluators["shortcuts"] = call(Shortcuts, **knobs)
    return config


def synthetic(height: int, width: int = 0, frames: int = 1) -> tuple[ConfigDict, ConfigDict]:
    """24 synthetic records to train on and 16 to test on; square unless there is a width."""
    size = {"height": height, "width": width or height, "frames": frames}
    return (
        call(SyntheticSource, size=24, **size),
        call(SyntheticSource, size=16, seed=1, **size),
    )


def tiny(
    method: ConfigDict,
    sources: tuple[ConfigDict, ConfigDict],
    optimizer: ConfigDict | None = None,
    read: ConfigDict | None = None,
    more: dict[str, ConfigDict] | None = None,
    evaluators: dict[str, ConfigDict] | None = None,
) -> ConfigDict:
    """The experiment of a `:tiny` variant: four steps of eight rows.

    Args:
      method: a narrow one.
      sources: of training and test records, as `synthetic` gives them.
      optimizer: None is plain SGD.
      read: what the ridge probe reads; None is every layer of 'vision'.
      more: evaluators beside 'pretext' and the ridge probe, 'ridge'.
      evaluators: evaluators in place of these two.
    """
    train, test = sources
    if evaluators is None:
        evaluators = {
            "pretext": call(Pretext, source=test, batch_size=8),
            "ridge": call(Ridge, train=train, test=test, read=read or call(Read)),
        }
    return call(
        Experiment,
        source=train,
        method=method,
        optimizer=optimizer or call(Optimizer, name="sgd", learning_rate=0.01),
        steps=4,
        batch_size=8,
        eval_batch_size=8,
        evaluators={**evaluators, **(more or {})},
    )
