"""Cross and Learn on UCF101, split 1, pictures against frame differences, with CaffeNet.

    python -m ssl_jax.train --config=configs/video/cross_and_learn_ucf101.py --workdir=runs/cross

Data: the folder data/ucf101 with manifest.csv (path, label, split). Cost: 63,000 steps, not
measured; the paper's took 6 hours on one GPU of 2018. Paper (with optical flow instead of
differences): fine-tuned 58.7 % on UCF101, as configs/finetune/ucf101.py:frames. Ours: not measured.

Variants: `:arcade` trains a narrow network on game video in minutes on a CPU; `:tiny` is four steps
on synthetic data.

Ours, `:arcade`, three seeds (mean ± deviation; four minutes each on a CPU core), on new plays: the
motion that belongs to a picture is among the first 10 of 192 0.198 ± 0.038 of the time, at random
initialisation 0.052 ± 0.005, control with the motions shuffled 0.050 ± 0.023, chance 0.052. It is
the game that is recognised: among films of one game R@10 is at chance (one seed: 0.318, chance
0.312). Two labelled pictures a game tell games apart from raw pixels already (0.995); conv4 0.989 ±
0.006 (random 0.968 ± 0.033), fc6, shaped by the loss, 0.905 ± 0.044 (0.939 ± 0.026).
"""

from ssl_jax.config import call, choose
from ssl_jax.data.sources.arcade import ArcadeSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.cross_modal_retrieval import CrossModalRetrieval
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.ridge import Ridge
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.cross_and_learn import CrossAndLearn
from ssl_jax.models.alexnet import CONVS, AlexNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, ucf101, arcade, tiny)


def trunk(**changes):
    """The authors' CaffeNet: BatchNorm after each ReLU, no LRN, fc6 the compared features."""
    knobs = {
        "normed": CONVS,
        "bn_after_relu": True,
        "conv1_padding": 2,
        "ceil_pooling": False,
        "fc7": 0,
        "dropout_before": True,
    }
    return call(AlexNet, **{**knobs, **changes})


def ucf101():
    data = {"path": "data/ucf101", "manifest": "manifest.csv", "kinds": ("video",)}
    train = call(FolderSource, split="train", min_frames=5, **data)
    test = call(FolderSource, split="test", **data)
    steps = 200 * 317
    return call(
        Experiment,
        source=train,
        method=call(CrossAndLearn, vision=trunk(), difference=trunk()),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.01,
            schedule=call(Step, boundaries=(steps * 3 // 4,)),
            weight_decay=5e-4,
        ),
        steps=steps,
        batch_size=60,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=60, every=3170),
            "retrieval": call(ClassRetrieval, train=train, test=test),
        },
    )


def arcade():
    games = ("seaquest", "enduro", "space_invaders", "beam_rider", "assault", "demon_attack")
    data = {"games": games, "seconds": 2.0, "frame_skip": 4, "height": 80, "width": 80}
    train = call(ArcadeSource, clips_per_game=128, **data)
    test = call(ArcadeSource, clips_per_game=32, split="test", **data)
    narrow = trunk(width=0.25, fc6=512, conv1_stride=2)
    return call(
        Experiment,
        source=train,
        method=call(
            CrossAndLearn, vision=narrow, difference=narrow, short_side=80, crop=72, candidates=10
        ),
        optimizer=call(
            Optimizer, name="sgd", learning_rate=0.02, schedule=call(Cosine), weight_decay=5e-4
        ),
        steps=300,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=32),
            "retrieval": call(
                CrossModalRetrieval,
                test=test,
                query="vision",
                gallery="difference",
                layer="fc6",
            ),
            "linear": call(Linear, train=train, test=test, labels_per_class=2),
        },
    )


def tiny():
    train = call(SyntheticSource, size=24, frames=8, height=80, width=80)
    test = call(SyntheticSource, size=16, frames=8, height=80, width=80, seed=1)
    narrow = trunk(width=0.0625, fc6=128)
    return call(
        Experiment,
        source=train,
        method=call(
            CrossAndLearn, vision=narrow, difference=narrow, short_side=80, crop=67, candidates=7
        ),
        optimizer=call(Optimizer, name="sgd", learning_rate=0.01),
        steps=4,
        batch_size=8,
        eval_batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8),
            "ridge": call(Ridge, train=train, test=test, read=call(Read, stream="difference")),
            "retrieval": call(
                CrossModalRetrieval,
                test=test,
                query="vision",
                gallery="difference",
                layer="fc6",
                ks=(1, 5),
            ),
        },
    )
