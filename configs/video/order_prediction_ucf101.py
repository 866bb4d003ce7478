"""Order prediction (OPN) on UCF101, split 1, with CaffeNet.

    python -m ssl_jax.train --config=video/order_prediction_ucf101.py --workdir=runs/opn

Data: the folder data/ucf101 with manifest.csv (path, label, split).
Cost: 170,000 steps, not measured.
Paper: fine-tuned 56.3 % on UCF101, see finetune/ucf101.py.

Variants: `:arcade` trains a narrow network on game video in minutes on a CPU, `:audited` with the
audit for shortcuts; `:tiny` is four steps on synthetic data.

    :arcade             order of four frames, unseen episodes (12 orders, chance 0.083)
    ours                0.342 ± 0.020
    random init         0.064 ± 0.030
    shuffled control    0.089 ± 0.024
    3 seeds; paper's setting: not measured

The features recognise the game (linear probe, 2 labels per game) no better than at random
initialisation (1 seed, conv1: 0.368 ± 0.079 against 0.353 ± 0.041 over draws of the labels): the
crop at the middle of the screen shows little of it.

Audit for shortcuts (1 seed, 192 test videos; accuracy 0.312, two convolutions alone 0.125): without
camera motion it loses 0.104 [0.004, 0.205] more than in the control. Of the other fourteen, among
them counters, black borders, cuts, JPEG grid and BatchNorm, none is above 0, and none alone tells
the order better than 0.115.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.feature_colours import FeatureColours
from ssl_jax.evals.guided_backprop import GuidedBackprop
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.propagation import JointPropagation, MaskPropagation
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.order_prediction import OrderPrediction
from ssl_jax.models.alexnet import CONVS, NORMED_DEEP, AlexNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, ucf101, arcade, audited, tiny)


def trunk(**changes):
    """The paper's CaffeNet, whose input is pixels in 0..255 less their mean."""
    knobs = {
        "lrn": True,
        "normed": NORMED_DEEP,
        "fc6": 1024,
        "fc7": 0,
        "weight_init": "caffe",
        "one_biases": ("fc6",),
    }
    return call(AlexNet, **{**knobs, **changes})


def ucf101():
    train, test = presets.ucf101("train", min_frames=45), presets.ucf101("test")
    long_enough = presets.ucf101("test", min_frames=45)
    return call(
        Experiment,
        source=train,
        method=call(OrderPrediction, vision=trunk()),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.01,
            schedule=call(Step, boundaries=(130_000,)),
            weight_decay=5e-4,
        ),
        steps=170_000,
        batch_size=64,
        evaluators={
            "pretext": call(Pretext, source=long_enough, every=5000),
            "retrieval": call(ClassRetrieval, train=train, test=test),
        },
    )


def arcade():
    """Four games whose pieces march on a black background, cropped where they move.

    Rendered frames have no lens to betray the order, so no channel splitting; and single frames are
    not shifted, since the pieces move by less.
    """
    games = ("assault", "carnival", "galaxian", "phoenix")
    data = {"seconds": 3.0, "frame_skip": 4, "height": 128, "width": 128}
    train, test = presets.arcade(games, 128, 48, **data)
    narrow = {"width": 0.25, "fc6": 512, "conv1_stride": 2, "weight_init": "lecun"}
    normed = {"lrn": False, "normed": (*CONVS, "fc6"), "one_biases": (), "dropout": 0.0}
    return call(
        Experiment,
        source=train,
        method=call(
            OrderPrediction,
            vision=trunk(**narrow, **normed),
            stride=1,
            candidates=8,
            short_side=128,
            window=48,
            crop=40,
            shift=0,
            splitting=False,
            hidden=128,
            dropout=0.0,
        ),
        optimizer=call(Optimizer, name="adamw", learning_rate=2e-3, schedule=call(Cosine)),
        steps=800,
        batch_size=64,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=48),
            "linear": call(Linear, train=train, test=test, labels_per_class=2),
        },
    )


def audited():
    return presets.audited(arcade())


def tiny():
    train, test = presets.synthetic(80, frames=16)
    method = call(
        OrderPrediction,
        vision=trunk(width=0.0625, weight_init="lecun", one_biases=()),
        candidates=8,
        stride=2,
        short_side=80,
        window=76,
        crop=67,
        shift=2,
        hidden=8,
    )
    more = {
        "propagation": call(
            MaskPropagation, source=test, layers=("conv2",), short_side=80, radius=3, videos=2
        ),
        "joints": call(
            JointPropagation, source=test, layers=("conv2",), size=80, radius=3, videos=2
        ),
        "guided": call(GuidedBackprop, source=test, layer="pool5", count=2, crops=2),
        "colours": call(FeatureColours, source=test, layers=("conv1", "conv3"), count=3),
    }
    return presets.tiny(method, (train, test), more=more)
