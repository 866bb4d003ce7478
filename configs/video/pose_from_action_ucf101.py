"""Pose from Action on UCF101, split 1, frames and optical flow, with VGG-M.

    python -m ssl_jax.train --config=video/pose_from_action_ucf101.py --workdir=runs/pose

Data: the folder data/ucf101 with manifest.csv (path, label, split); videos of 26 frames or more.
Cost: 50,000 steps, not measured. Flow is computed while training, up to half a second of one CPU
core a row; from shards made with `ssl_jax.prepare --flow` it is read.
Paper, trained on UCF101, HMDB51 and ACT: fine-tuned on UCF101 55.0 %, on HMDB51 23.6 %. Inputs and
trunks are the paper's, steps and optimizer ours: they are not known.
Ours, in the paper's setting: not measured.

Variants: `:videos` takes motion of other videos too, and has an accuracy for each kind; `:arcade`
trains a small network on video of one game, in minutes on a CPU (score and clock stay: of this game
their places are not known), `:audited` is the same with the audit for shortcuts; `:tiny` is four
steps on synthetic data. What the later frame is good for: train and evaluate with
`--config.method.later=False`.

    :arcade             match, unseen episodes (chance 0.5)
    ours                0.953
    random init         0.484
    without the later   not measured
    1 seed, 128 videos, 400 steps of 32 rows, 8 minutes on 1 busy CPU core; control: not measured

Which of the two boxers scores is no question for its features: a linear probe finds the more
frequent answer (0.80 of 64) before and after training, raw pixels 0.72. Without normalised features
the match is 0.52 after 320 steps of 16 rows.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.cues import CameraMotion, Counters, Cuts
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.pose_from_action import PoseFromAction
from ssl_jax.models.soft_argmax import SoftArgmaxTrunk
from ssl_jax.models.vgg_m import VGGM
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, ucf101, videos, arcade, audited, tiny)


def videos():
    return ucf101(other_videos=0.5)


def ucf101(**knobs):
    train, test = presets.ucf101("train"), presets.ucf101("test")
    long_enough = presets.ucf101("test", min_frames=26)
    return call(
        Experiment,
        source=presets.ucf101("train", min_frames=26),
        method=call(PoseFromAction, vision=call(VGGM), flow=call(VGGM), **knobs),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.001,
            schedule=call(Step, boundaries=(30_000, 40_000)),
            weight_decay=5e-4,
        ),
        steps=50_000,
        batch_size=64,
        evaluators={
            "pretext": call(Pretext, source=long_enough, every=5000),
            "retrieval": call(ClassRetrieval, train=train, test=test),
        },
    )


def arcade():
    # Two large actors: of sprites as small as Ms. Pac-Man's DIS sees no motion.
    games = ("boxing",)
    size = {"seconds": 4.0, "frame_skip": 4, "height": 64, "width": 64, "hide_counters": True}
    train, test = presets.arcade(games, 128, 64, label="reward", **size)
    trunk = call(SoftArgmaxTrunk, base="convs", convs=(), hidden=0, dropout=0.0, bn_momentum=0.9)
    return call(
        Experiment,
        source=train,
        method=call(
            PoseFromAction,
            vision=trunk,
            flow=trunk,
            height=32,
            width=32,
            crop=28,
            bound=2.5,  # of small frames little moves by more
            hidden=128,
        ),
        optimizer=call(Optimizer, name="adam", learning_rate=2e-3, schedule=call(Cosine)),
        steps=400,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test),
            "linear": call(Linear, train=train, test=test),
        },
    )


def audited():
    cues = (call(Counters), call(CameraMotion), call(Cuts))
    return presets.audited(arcade(), cues=cues)


def tiny():
    method = call(
        PoseFromAction,
        vision=call(VGGM, width=1 / 64),
        flow=call(SoftArgmaxTrunk, base="convs", convs=(), hidden=0, dropout=0.0, width=0.125),
        fields=2,
        height=44,
        width=46,
        crop=42,
        other_videos=0.5,
        hidden=16,
    )
    return presets.tiny(method, presets.synthetic(44, frames=8))
