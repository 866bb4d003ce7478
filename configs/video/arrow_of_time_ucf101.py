"""Arrow of time (T-CAM) on UCF101, split 1, optical flow with VGG-16.

    python -m ssl_jax.train --config=video/arrow_of_time_ucf101.py --workdir=runs/arrow

Data: the folder data/ucf101 with manifest.csv (path, label, split).
Cost: 100,000 steps, not measured. Flow is computed while training, about 0.3 s of one CPU core a
clip.
Paper: trained on Flickr, 81 % accuracy on its test videos; the flow network fine-tuned
reaches 84.1 % on UCF101, trained on UCF101 itself 86.3 %.

Variants: `:frames` is another method, which sees frames in place of flow; `:arcade` and
`:arcade_frames` train narrow networks on game video in minutes on a CPU; `:audited` is `:arcade`
and looks for shortcuts; `:tiny` is four steps on synthetic data.

    :arcade             direction, unseen episodes (chance 0.5)
    ours                0.693
    random init         0.479
    1 seed, 4 minutes on 1 CPU core; control, `:arcade_frames` and the paper's setting: not measured
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.cues import CameraMotion, Counters, Cuts
from ssl_jax.evals.class_activation import ClassActivation
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.pretext import Pretext
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.arrow_of_time import ArrowOfTime
from ssl_jax.models.vgg16 import VGG16
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, ucf101, frames, arcade, arcade_frames, audited, tiny)


def frames():
    return ucf101(flow=False)


def ucf101(**knobs):
    # Twenty flow fields.
    train, test = presets.ucf101("train", min_frames=21), presets.ucf101("test")
    long_enough = presets.ucf101("test", min_frames=21)
    return call(
        Experiment,
        source=train,
        method=call(ArrowOfTime, vision=call(VGG16), **knobs),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.01,
            schedule=call(Step, boundaries=(5000,)),
            weight_decay=5e-4,
        ),
        steps=100_000,
        batch_size=96,
        micro_batches=3,
        evaluators={
            "pretext": call(Pretext, source=long_enough, every=5000),
            "retrieval": call(ClassRetrieval, train=train, test=test),
            "activation": call(ClassActivation, source=long_enough),
        },
    )


def arcade_frames():
    return arcade(flow=False)


def arcade(**knobs):
    # Games in which shots fly up, what is hit bursts, and nobody moves the camera.
    games = ("assault", "carnival", "galaxian", "phoenix")
    size = {"seconds": 2.0, "height": 64, "width": 64}
    train, test = presets.arcade(games, 96, 48, hide_counters=True, **size)
    return call(
        Experiment,
        source=train,
        method=call(
            ArrowOfTime,
            vision=call(VGG16, width=0.125),
            chunk=5,
            bound=5.0,  # of small frames little moves by more
            cut_borders=False,
            stabilise=False,
            height=64,
            width=64,
            crop=56,
            hidden=(64, 64),
            dropout=0.0,
            **knobs,
        ),
        optimizer=call(Optimizer, name="adamw", learning_rate=1e-3, schedule=call(Cosine)),
        steps=300,
        batch_size=16,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=48),
            "activation": call(ClassActivation, source=test),
        },
    )


def audited():
    cues = (call(Counters), call(CameraMotion), call(Cuts))
    return presets.audited(arcade(), cues=cues)


def tiny():
    train, test = presets.synthetic(20, frames=8)
    method = call(
        ArrowOfTime,
        vision=call(VGG16, width=0.0625),
        chunk=2,
        height=20,
        width=20,
        crop=16,
        hidden=(8,),
    )
    more = {"activation": call(ClassActivation, source=test, count=2)}
    return presets.tiny(method, (train, test), more=more)
