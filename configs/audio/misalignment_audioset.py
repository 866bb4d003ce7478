"""Misalignment (Multisensory) on AudioSet.

    python -m ssl_jax.train --config=audio/misalignment_audioset.py:coarse --workdir=runs/coarse
    python -m ssl_jax.train --config=audio/misalignment_audioset.py --workdir=runs/shift \\
        --config.init_from=runs/coarse
    python -m ssl_jax.train --config=audio/misalignment_audioset.py:cam --workdir=runs/cam \\
        --config.init_from=runs/shift

Data: the folder data/audioset with manifest.csv (path, split).
Cost: not measured.
Paper: 59.9 % of aligned and shifted videos told apart; fine-tuned on UCF101 82.1 %.

Variants: `:coarse` sees every fourth frame, in larger batches, and comes first; `:cam` goes on from
`runs/shift`, with maps of 14x14 to draw; `:synthetic` trains narrow networks on a bouncing shape
whose tone is as loud as it is low, in minutes on a CPU; `:arcade` on game video, `:audited` with
the audit for shortcuts; `:tiny` is four steps on synthetic data.

How many GPUs shared the paper's batch is not known: three are assumed.

    Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.class_activation import ClassActivation
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.audio.misalignment import Misalignment
from ssl_jax.models.multisensory import Fusion, VideoStream, WaveStream
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, audioset, coarse, cam, synthetic, arcade, audited, tiny)


def coarse():
    return audioset(steps=30_000, batch_size=45, every=4)


def cam():
    return audioset(steps=25_000, fused=call(Fusion, last_stride=1))


def audioset(steps: int = 620_000, batch_size: int = 15, fused=None, **knobs):
    data = {
        "path": "data/audioset",
        "manifest": "manifest.csv",
        "kinds": ("video",),
        "need": ("frames", "audio"),
        "min_seconds": 6.5,
        "sample_rate": 21000,
    }
    train = call(FolderSource, split="train", **data)
    test = call(FolderSource, split="test", **data)
    return call(
        Experiment,
        source=train,
        method=call(
            Misalignment,
            vision=call(VideoStream),
            audio=call(WaveStream),
            fused=fused or call(Fusion),
            **knobs,
        ),
        optimizer=call(Optimizer, name="sgd", learning_rate=0.01, clip_norm=5.0, weight_decay=1e-5),
        steps=steps,
        batch_size=batch_size,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=15, every=5000),
            "activation": drawn(test),
        },
    )


def drawn(source):
    return call(ClassActivation, source=source, stream="fused", layer="activation")


def synthetic():
    size = {"frames": 64, "height": 48, "width": 48}
    train = call(SyntheticSource, size=768, **size)
    test = call(SyntheticSource, size=128, seed=1, **size)
    config = small(train, test, frames=16, fps=16.0, farthest=40, sample_rate=4000)
    config.method.short_side = 48
    config.method.crop = 44
    return config


def arcade():
    games = ("assault", "phoenix", "space_invaders", "galaxian")
    data = {"seconds": 4.0, "height": 64, "width": 64, "min_loudness": 0.02}
    train, test = presets.arcade(games, 128, 32, **data)
    config = small(train, test, frames=16, fps=15.0, farthest=40, sample_rate=10240)
    read = call(Read, stream="fused")
    config.evaluators["linear"] = call(
        Linear, train=train, test=test, read=read, labels_per_class=5
    )
    return config


def audited():
    return presets.audited(arcade())


def small(train, test, **knobs):
    narrow = {"width": 0.25, "bn_momentum": 0.9}
    return call(
        Experiment,
        source=train,
        method=call(
            Misalignment,
            vision=call(VideoStream, **narrow),
            audio=call(WaveStream, **narrow),
            fused=call(Fusion, **narrow),
            shared=0,
            short_side=64,
            crop=60,
            **knobs,
        ),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, schedule=call(Cosine)),
        steps=400,
        batch_size=16,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=32),
            "activation": drawn(test),
        },
    )


def tiny():
    sources = presets.synthetic(20, frames=32)
    narrow = {"width": 0.0625, "bn_momentum": 0.9}
    method = call(
        Misalignment,
        vision=call(VideoStream, **narrow),
        audio=call(WaveStream, **narrow),
        fused=call(Fusion, **narrow),
        frames=8,
        fps=16.0,
        shared=4,
        farthest=12,
        short_side=20,
        crop=16,
        sample_rate=8000,
    )
    activation = drawn(sources[1])
    activation.count = 2
    read = call(Read, stream="fused")
    return presets.tiny(method, sources, read=read, more={"activation": activation})
