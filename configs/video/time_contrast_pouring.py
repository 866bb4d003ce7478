"""Time-contrastive networks on videos of pouring: Inception v3 up to Mixed_5d, single view.

    python -m ssl_jax.train --config=video/time_contrast_pouring.py --workdir=runs/tcn

Data: the folder data/pouring with manifest.csv (path, split, event): videos of one event, taken by
several cameras in step, share its name in the column event.
Cost: a million steps at most, not measured.
Paper, pouring, alignment of two cameras: random 28.1 %, frozen ImageNet features 29.8 %, single
view 25.8 %, multi-view n-pairs 18.1 %.
Ours, in the paper's setting: not measured.

The paper keeps Inception as ImageNet's labels have trained it. Here it is trained with the rest;
with weights of your own it is kept by `--config.init_from="{'vision': FILE}"
--config.method.vision.still=True --config.optimizer.freeze="('vision/base',)"`.

Variants: `:cameras` is the paper's multi-view run with n-pairs; `:arcade` trains a small network on
game video, counters hidden, in minutes on a CPU, `:audited` is the same with the audit for
shortcuts, `:counters` with the audit and the counters shown; `:augmented` takes pairs of a frame
and a changed copy (no second camera, not the paper's multi-view); `:tiny` is four steps on
synthetic data.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.cues import CameraMotion, Counters, Cuts
from ssl_jax.data.sources.cameras import Cameras, SecondCamera
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.evals.alignment import Alignment
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.time_contrast import TimeContrast
from ssl_jax.models.soft_argmax import SoftArgmaxTrunk
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, single, cameras, arcade, audited, counters, augmented, tiny)


def single():
    return pouring(call(TimeContrast, vision=call(SoftArgmaxTrunk)), videos("train"), 1e-3)


def cameras():
    method = call(
        TimeContrast, vision=call(SoftArgmaxTrunk), pairs="cameras", criterion="npairs", frames=32
    )
    return pouring(method, call(Cameras, source=videos("train")), 1e-4)


def videos(split: str):
    return call(
        FolderSource, path="data/pouring", manifest="manifest.csv", kinds=("video",), split=split
    )


def pouring(method, train, learning_rate: float):
    """Either run of the paper. A batch is one video."""
    test = call(Cameras, source=videos("test"))
    return call(
        Experiment,
        source=train,
        method=method,
        optimizer=call(Optimizer, name="adam", learning_rate=learning_rate, weight_decay=1e-6),
        steps=1_000_000,
        batch_size=1,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=1, every=10_000),
            "alignment": call(
                Alignment,
                source=test,
                read=call(Read, layers=("mixed5d", "embedding"), clips=100),
            ),
        },
    )


def arcade():
    return games(hide_counters=True)


def audited():
    return presets.audited(arcade(), cues=(call(Cuts), call(CameraMotion)), batch_size=8)


def counters():
    return presets.audited(games(hide_counters=False), cues=(call(Counters),), batch_size=8)


def augmented():
    config = games(hide_counters=True, pairs="cameras", criterion="npairs", frames=16)
    config.source = call(SecondCamera, source=config.source)
    config.evaluators["pretext"].source = config.evaluators["alignment"].source
    return config


def games(hide_counters: bool, **knobs):
    """A small network on videos of three games of which scores and lives are known."""
    data = {"seconds": 4.0, "frame_skip": 4, "height": 64, "width": 64}
    data["hide_counters"] = hide_counters
    train, test = presets.arcade(("seaquest", "enduro", "assault"), 64, 16, **data)
    trunk = call(SoftArgmaxTrunk, base="convs", convs=(), hidden=128, dropout=0.0, bn_momentum=0.9)
    # Frames are 1/15 s apart: 0.2 s and 0.4 s, as in the paper.
    single_view = {"frames": 24, "stride": 1, "positive": 3, "negative": 6}
    knobs = {**single_view, "stored": 64, "size": 64, "zoom": 1.3, **knobs}
    return call(
        Experiment,
        source=train,
        method=call(TimeContrast, vision=trunk, **knobs),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, schedule=call(Cosine)),
        steps=300,
        batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8),
            "alignment": call(
                Alignment,
                source=call(SecondCamera, source=test),
                read=call(Read, layers=("small3", "places", "embedding"), clips=20),
            ),
        },
    )


def tiny():
    trunk = call(SoftArgmaxTrunk, base="convs", convs=(32,), hidden=64, embedding=4, width=0.25)
    train, test = presets.synthetic(16, frames=12)
    twice = call(SecondCamera, source=test)
    return presets.tiny(
        call(
            TimeContrast,
            vision=trunk,
            frames=6,
            positive=1,
            negative=2,
            stored=16,
            size=14,
            zoom=1.2,
        ),
        (train, test),
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8),
            "alignment": call(
                Alignment, source=twice, read=call(Read, layers=("embedding",), clips=4)
            ),
        },
    )
