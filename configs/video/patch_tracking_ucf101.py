"""Tracked patches (Wang and Gupta) on UCF101, split 1, with AlexNet.

    python -m ssl_jax.train --config=video/patch_tracking_ucf101.py --workdir=runs/patches

Data: the folder data/ucf101 with manifest.csv (path, label, split); videos of 30 frames or more.
(The paper mined eight million patches in 100,000 videos from YouTube.)
Cost: 400,000 steps of 50 pairs, not measured. Patches are found and followed while training, about
half a second of one CPU core a pair.
Paper: trained on those videos; as run for Shuffle and Learn on UCF101, fine-tuned 40.7 % on UCF101
and 15.6 % on HMDB51 (split 1).

Variants: `:half_margin` has the margin that the paper names; `:arcade` trains a narrow network on
video of one game, counters hidden, in minutes on a CPU; `:audited` is the same with the audit for
shortcuts; `:tiny` is four steps on synthetic data.

    :arcade             own later patch nearest of 64 rows, unseen episodes
    ours                0.211
    random init         0.102
    1 seed, 5 minutes on 1 CPU core; probes of all layers are at raw patches (0.734), as at random
    init; control and the paper's setting: not measured

On `:arcade` the black place of hidden counters shows where in the frame a patch lies, which a track
keeps more or less.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.cues import CameraMotion, ColourHistogram, KeyFrames
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.patch_tracking import PatchTracking
from ssl_jax.models.alexnet import CONVS, AlexNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, ucf101, half_margin, arcade, audited, tiny)


def trunk(**changes):
    """The authors' AlexNet: LRN, no BatchNorm, no dropout, an fc7 of 1024."""
    knobs = {
        "lrn": True,
        "normed": (),
        "fc7": 1024,
        "dropout": 0.0,
        "weight_init": "caffe",
        "one_biases": ("conv2", "conv4", "conv5", "fc6", "fc7"),
    }
    return call(AlexNet, **{**knobs, **changes})


def half_margin():
    return ucf101(margin=0.5)


def ucf101(**knobs):
    train, test = presets.ucf101("train"), presets.ucf101("test")
    return call(
        Experiment,
        source=presets.ucf101("train", min_frames=30),
        method=call(PatchTracking, vision=trunk(), **knobs),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=1e-3,
            schedule=call(Step, boundaries=(100_000, 200_000, 300_000)),
            weight_decay=5e-4,
        ),
        steps=400_000,
        batch_size=50,
        evaluators={
            "pretext": call(
                Pretext, source=presets.ucf101("test", min_frames=30), batch_size=50, every=5000
            ),
            "retrieval": call(ClassRetrieval, train=train, test=test),
        },
    )


def arcade():
    """One game, over whose banks the camera flies: patches of others have the same colours."""
    size = {"seconds": 2.0, "height": 96, "width": 96, "hide_counters": True}
    train, test = presets.arcade(("riverraid",), 384, 128, label="reward", **size)
    narrow = {"width": 0.25, "fc6": 512, "fc7": 256, "conv1_stride": 2, "weight_init": "lecun"}
    normed = {"lrn": False, "normed": (*CONVS, "fc6"), "one_biases": ()}
    return call(
        Experiment,
        source=train,
        method=call(
            PatchTracking,
            vision=trunk(**narrow, **normed),
            track=12,
            candidates=18,
            height=96,
            width=96,
            window=44,
            crop=40,
            share=(0.02, 1.0),
        ),
        optimizer=call(Optimizer, name="adamw", learning_rate=1e-3, schedule=call(Cosine)),
        steps=200,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=32),
            "linear": call(Linear, train=train, test=test),
        },
    )


def audited():
    cues = (call(ColourHistogram), call(CameraMotion), call(KeyFrames))
    return presets.audited(arcade(), cues=cues)


def tiny():
    train, test = presets.synthetic(72, frames=6)
    narrow = trunk(width=0.0625, fc6=64, fc7=256, weight_init="lecun", one_biases=())
    method = call(
        PatchTracking,
        vision=narrow,
        track=3,
        candidates=4,
        height=72,
        width=72,
        window=70,
        crop=67,
        share=(0.0, 1.0),
        hard_after=0.0,
    )
    return presets.tiny(method, (train, test))
