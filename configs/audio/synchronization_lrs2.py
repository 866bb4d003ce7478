"""Synchronization (SyncNet) of lips and voice on LRS2.

    python -m ssl_jax.train --config=audio/synchronization_lrs2.py --workdir=runs/sync
    python -m ssl_jax.apply sync a.mp4 --workdir=runs/sync

Data: the folder data/lrs2 with manifest.csv (path, split): videos of mouths, cut out.
Cost: not measured.
Paper: offsets right to a frame, averaged over 100 frames: above 99 %. Several ways, averaged over
5 / 9 / 15 frames (Chung et al. 2019): 88.1, 96.4 and 99.1 %; by the margin: 75.8, 87.6 and 96.1 %.

Variants: `:margin` is the loss of the paper; `:arcade` trains narrow networks on game video in
minutes on a CPU; `:tiny` is four steps on synthetic data.

    Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.sync_offset import SyncOffset
from ssl_jax.experiment import Experiment
from ssl_jax.methods.audio.synchronization import Synchronization
from ssl_jax.models.syncnet import LipNet, SpeechNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The released trainer's run, or a variant's."""
    return choose(variant, lrs2, margin, arcade, tiny)


def margin():
    return lrs2(criterion="margin")


def lrs2(**knobs):
    data = {
        "path": "data/lrs2",
        "manifest": "manifest.csv",
        "kinds": ("video",),
        "need": ("frames", "audio"),
        "min_seconds": 2.2,
        "sample_rate": 16000,
    }
    train = call(FolderSource, split="train", **data)
    test = call(FolderSource, split="test", **data)
    # The released trainer drops the rate by 5 % each epoch of 29,000 videos.
    epoch = 29_000 // 32
    return call(
        Experiment,
        source=train,
        method=call(Synchronization, vision=call(LipNet), audio=call(SpeechNet), **knobs),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=1e-3,
            schedule=call(Step, boundaries=tuple(range(epoch, 100 * epoch, epoch)), decay=0.95),
            weight_decay=1e-5,
        ),
        steps=100 * epoch,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test, every=10 * epoch),
            "offset": call(SyncOffset, source=test),
        },
    )


def arcade():
    """Games in which what is hit, and every step, sounds at once."""
    games = ("assault", "phoenix", "space_invaders", "galaxian")
    data = {"seconds": 4.0, "frame_skip": 2, "height": 64, "width": 64, "min_loudness": 0.02}
    train, test = presets.arcade(games, 128, 24, **data)
    return call(
        Experiment,
        source=train,
        method=call(
            Synchronization,
            vision=call(LipNet, width=0.125),
            audio=call(SpeechNet, width=0.25),
            windows=16,
            stride=3,
            fps=30.0,
            short_side=64,
            crop=60,
        ),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, schedule=call(Cosine)),
        steps=400,
        batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8),
            "offset": call(SyncOffset, source=test, averaged=(1, 5, 25, 60), records=0),
        },
    )


def tiny():
    sources = presets.synthetic(60, frames=32)
    method = call(
        Synchronization,
        vision=call(LipNet, width=0.0625, embedding=8),
        audio=call(SpeechNet, width=0.0625, embedding=8),
        windows=4,
        stride=3,
        frames=3,
        fps=16.0,
        short_side=60,
        crop=57,
        sample_rate=8000,
    )
    more = {"offset": call(SyncOffset, source=sources[1], averaged=(1,), most=4, records=2)}
    return presets.tiny(method, sources, more=more)
