"""Odd-one-out (O3N) on UCF101, split 1, stacks of differences with AlexNet.

    python -m ssl_jax.train --config=video/odd_one_out_ucf101.py --workdir=runs/odd

Data: the folder data/ucf101 with manifest.csv (path, label, split).
Cost: 150,000 steps of 64 questions (384 clips), not measured. The paper's schedule is not known.
Paper: fine-tuned 60.3 % on UCF101, 32.5 % on HMDB51, on stacks of differences as here; not
comparable to networks that see frames.

Variants: `:dynamic` has dynamic images, `:concat` the features side by side; `:arcade` trains a
narrow network on game video in minutes on a CPU; `:audited` is the same and looks for shortcuts;
`:tiny` is four steps on synthetic data.

    :arcade             which of six clips, unseen     linear probe, 2 labels per game
                        episodes (chance 0.167)        conv3 (2 seeds, over draws of the labels)
    ours                0.922 ± 0.005                  0.57 ± 0.05
    random init         0.129 ± 0.030                  0.44 ± 0.10
    shuffled control    0.229 (1 seed)                 –
    raw differences     –                              0.342
    3 seeds, 2 minutes each on 1 CPU core, 192 questions; paper's setting: not measured
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.cues import CameraMotion, Counters, Duplicates
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.odd_one_out import OddOneOut
from ssl_jax.models.alexnet import CONVS, AlexNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, ucf101, dynamic, concat, arcade, audited, tiny)


def trunk(**changes):
    """AlexNet with an fc6 of 128."""
    knobs = {
        "lrn": True,
        "normed": (),
        "fc6": 128,
        "fc7": 0,
        "weight_init": "caffe",
        "one_biases": ("conv2", "conv4", "conv5", "fc6"),
    }
    return call(AlexNet, **{**knobs, **changes})


def dynamic():
    return ucf101(encoding="dynamic")


def concat():
    return ucf101(fusion="concat")


def ucf101(**knobs):
    train, test = presets.ucf101("train", min_frames=9), presets.ucf101("test")
    long_enough = presets.ucf101("test", min_frames=9)
    return call(
        Experiment,
        source=train,
        method=call(OddOneOut, vision=trunk(), **knobs),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.01,
            schedule=call(Step, boundaries=(100_000,)),
            weight_decay=5e-4,
        ),
        steps=150_000,
        batch_size=64,
        evaluators={
            "pretext": call(Pretext, source=long_enough, every=5000),
            "retrieval": call(ClassRetrieval, train=train, test=test),
        },
    )


def arcade():
    games = ("assault", "carnival", "galaxian", "phoenix")
    size = {"seconds": 2.0, "height": 48, "width": 48}
    train, test = presets.arcade(games, 96, 48, hide_counters=True, **size)
    narrow = {"width": 0.25, "fc6": 512, "conv1_stride": 2, "weight_init": "lecun"}
    normed = {"lrn": False, "normed": (*CONVS, "fc6"), "one_biases": (), "dropout": 0.0}
    return call(
        Experiment,
        source=train,
        method=call(
            OddOneOut,
            vision=trunk(**narrow, **normed),
            fusion="concat",
            short_side=48,
            crop=40,
        ),
        optimizer=call(Optimizer, name="adamw", learning_rate=1e-3, schedule=call(Cosine)),
        steps=400,
        batch_size=16,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=48),
            "linear": call(Linear, train=train, test=test, labels_per_class=2),
        },
    )


def audited():
    cues = (call(Counters), call(CameraMotion), call(Duplicates))
    return presets.audited(arcade(), cues=cues)


def tiny():
    train, test = presets.synthetic(68, frames=8)
    narrow = trunk(width=0.0625, fc6=128, weight_init="lecun", one_biases=())
    method = call(
        OddOneOut,
        vision=narrow,
        clips_per_video=3,
        frames=4,
        window=6,
        hidden=8,
        short_side=68,
        crop=67,
    )
    return presets.tiny(method, (train, test))
