"""Shuffle and Learn on UCF101, split 1, with CaffeNet and BatchNorm.

    python -m ssl_jax.train --config=video/shuffle_and_learn_ucf101.py --workdir=runs/shuffle

Data: the folder data/ucf101 with manifest.csv (path, label, split).
Cost: 100,000 steps, not measured.
Paper: fine-tuned 50.2 % on UCF101 (mean of three splits), 18.1 % on HMDB51, see
finetune/ucf101.py.

Variants: `:arcade` trains a narrow network on game video in minutes on a CPU; `:audited` is the
same and looks for shortcuts; `:tiny` is four steps on synthetic data.

    :arcade             balanced accuracy, unseen episodes (chance 0.5)
    ours                0.593
    random init         0.500
    1 seed, 4 minutes on 1 CPU core; control and the paper's setting: not measured

The head is linear in three features side by side, as in the authors' code, so its answer is a sum
over frames: whether one frame lies between two others it cannot say, only that a frame is one of
the middle of a video. Here tuples are as long as the videos, and that is enough. With 12 frames
between the ends, at any time of the video, it stays at chance (0.494; 0.487 with BatchNorm on fc6
and fc7; 1 seed each).
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.cues import Counters, Cuts, Fades
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.pretext import Pretext
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.shuffle_and_learn import ShuffleAndLearn
from ssl_jax.models.alexnet import CONVS, NORMED_DEEP, AlexNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, ucf101, arcade, audited, tiny)


def trunk(**changes):
    """The authors' CaffeNet, whose BatchNorm has neither scale nor offset."""
    knobs = {
        "lrn": True,
        "normed": NORMED_DEEP,
        "bn_affine": False,
        "weight_init": "caffe",
        "one_biases": ("conv2", "conv4", "conv5", "fc6", "fc7"),
    }
    return call(AlexNet, **{**knobs, **changes})


def ucf101():
    # Three frames, and 15 on either side.
    train, test = presets.ucf101("train", min_frames=33), presets.ucf101("test")
    long_enough = presets.ucf101("test", min_frames=33)
    return call(
        Experiment,
        source=train,
        method=call(ShuffleAndLearn, vision=trunk()),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=1e-3,
            schedule=call(Step, boundaries=(80_000,)),
            weight_decay=5e-4,
        ),
        steps=100_000,
        batch_size=128,
        micro_batches=4,  # BatchNorm sees 32 examples, as in the authors' code
        evaluators={
            "pretext": call(Pretext, source=long_enough, every=5000),
            "retrieval": call(ClassRetrieval, train=train, test=test),
        },
    )


def arcade():
    # The first seconds of an episode, in which two players draw walls behind them: how far these
    # have come shows whether a frame is of the middle.
    size = {"seconds": 3.0, "height": 48, "width": 48}
    more = {"clips_per_play": 1, "hide_counters": True}
    train, test = presets.arcade(("surround",), 160, 96, **size, **more)
    narrow = {"width": 0.25, "fc6": 512, "fc7": 256, "conv1_stride": 2, "weight_init": "lecun"}
    normed = {"lrn": False, "normed": CONVS, "bn_affine": True, "one_biases": (), "dropout": 0.0}
    return call(
        Experiment,
        source=train,
        method=call(
            ShuffleAndLearn,
            vision=trunk(**narrow, **normed),
            size=48,
            longest=26,
            apart=7,
            motion_stride=3,
        ),
        optimizer=call(Optimizer, name="adamw", learning_rate=1e-3, schedule=call(Cosine)),
        steps=300,
        batch_size=32,
        evaluators={"pretext": call(Pretext, source=test, batch_size=48)},
    )


def audited():
    cues = (call(Counters), call(Cuts), call(Fades))
    return presets.audited(arcade(), metric="balanced_accuracy", cues=cues)


def tiny():
    train, test = presets.synthetic(67, frames=16)
    narrow = trunk(width=0.0625, fc6=128, fc7=64, weight_init="lecun", one_biases=())
    method = call(ShuffleAndLearn, vision=narrow, size=67, longest=4, apart=2, motion_stride=4)
    return presets.tiny(method, (train, test))
