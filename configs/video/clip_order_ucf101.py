"""Clip order on UCF101, split 1, with the paper's three trunks.

    python -m ssl_jax.train --config=video/clip_order_ucf101.py --workdir=runs/clip_order

Data: the folder data/ucf101 with manifest.csv (path, label, split).
Cost: 300 epochs, not measured.
Paper: R(2+1)D fine-tuned reaches 72.4 % on UCF101, see finetune/ucf101.py.

Variants: `:c3d` and `:r3d` are the other trunks; `:arcade` trains a narrow R(2+1)D on game video in
minutes on a CPU, `:audited` with the audit for shortcuts; `:tiny` is four steps on synthetic data.

    :arcade             order of three clips, unseen episodes (chance 0.167)
    ours                0.615 ± 0.009
    random init         0.193 ± 0.027
    shuffled control    0.177 ± 0.016
    3 seeds, 10 minutes each on 1 CPU core, half of it playing; paper's setting: not measured

About half of the videos contain the end of a round, where the screen is cleared or stands still.
On six other games, cut from the middle of episodes, nothing was learnt in 300 steps (1 seed:
0.146): no moment there looks earlier than another.

Audit for shortcuts, `:audited` (1 seed, 128 test clips; accuracy 0.672, two convolutions alone
0.367): of no cue's excess is the interval above 0 after correction for fifteen cues; mirrored in
place of zero padding it loses 0.117 [0.036, 0.198] (p = 0.16). Camera, cuts, fades, duplicates, key
frames, BatchNorm: within 0.05 of 0. No cue tells the order by itself.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.clip_order import ClipOrder
from ssl_jax.models.c3d import C3D
from ssl_jax.models.resnet3d import ResNet3D
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine

ONE_BLOCK = (1, 1, 1, 1)


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, r2plus1d, c3d, r3d, arcade, audited, tiny)


def r2plus1d():
    return ucf101(call(ResNet3D, layers=ONE_BLOCK, split=True, split_shortcut=True))


def c3d():
    return ucf101(call(C3D))


def r3d():
    return ucf101(call(ResNet3D, layers=ONE_BLOCK))


def ucf101(trunk):
    # Three clips of 16 frames with two gaps of 8 need 64 frames.
    train = presets.ucf101("train", min_frames=64)
    test = presets.ucf101("test")
    long_enough = presets.ucf101("test", min_frames=64)
    return call(
        Experiment,
        source=train,
        method=call(ClipOrder, vision=trunk),
        optimizer=call(Optimizer, name="sgd", learning_rate=1e-3, weight_decay=5e-4),
        steps=300 * 9000 // 8,
        batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=long_enough, batch_size=8, every=9000),
            "retrieval": call(
                ClassRetrieval, train=train, test=test, read=call(Read, layers=("pool",), clips=10)
            ),
        },
    )


def arcade():
    # Order shows where something grows or wears off for as long as a video lasts. Here a video is
    # the first seconds of an episode: two players draw walls behind them until one hits a wall.
    size = {"seconds": 3.0, "height": 48, "width": 48}
    train, test = presets.arcade(("surround",), 256, 128, clips_per_play=1, **size)
    return call(
        Experiment,
        source=train,
        method=call(
            ClipOrder,
            vision=call(ResNet3D, layers=ONE_BLOCK, split=True, width=0.125),
            frames=4,
            stride=3,
            gap=1,
            height=48,
            width=48,
            crop=44,
            dropout=0.0,
        ),
        # Gradients of the first steps are ten times as long as later ones and would kill the head.
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.1,
            schedule=call(Cosine, warmup=30),
            clip_norm=0.5,
        ),
        steps=450,
        batch_size=16,
        evaluators={"pretext": call(Pretext, source=test, batch_size=16)},
    )


def audited():
    return presets.audited(arcade())


def tiny():
    trunk = call(ResNet3D, layers=ONE_BLOCK, split=True, width=0.0625)
    train, test = presets.synthetic(24, frames=16)
    two_clips = call(Read, clips=2)
    retrieval = call(ClassRetrieval, train=train, test=test, read=two_clips, ks=(1, 5))
    return presets.tiny(
        call(ClipOrder, vision=trunk, frames=4, gap=2, height=18, width=18, crop=16, hidden=8),
        (train, test),
        read=two_clips,
        more={"retrieval": retrieval},
    )
