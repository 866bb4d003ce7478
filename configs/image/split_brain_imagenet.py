"""Split-brain autoencoder on ImageNet: AlexNet in two halves, both classifying ('cl,cl').

    python -m ssl_jax.train --config=configs/image/split_brain_imagenet.py --workdir=runs/split

Data: TFDS `imagenet2012`, prepared as array_record; without labels in training. Cost: 450,000
steps, not measured.
Paper: linear probe on conv1 to conv5 17.7, 29.3, 35.4, 35.2, 32.8 %; 17.4, 27.9, 33.6, 34.2, 32.3 %
with --config.method.criterion=reg. Ours: not measured. (Those are of classifiers on all labels;
here a twentieth of the training set is probed.)

The paper's other designs: --config.method.design='ensemble' with the halves as they are; 'L->ab',
'ab->L', 'Lab->Lab', 'drop50', 'single', 'single+Lab' with one whole net, that is with
--config.method.vision.width=1.0 --config.method.vision.groups=2 as well.

Variants: `:arcade` trains narrow halves on game video in minutes on a CPU; `:tiny` is four
steps on synthetic data.

Ours, `:arcade`, three seeds (mean ± deviation; three minutes each on one CPU core), on new
pictures: the colour class from lightness 0.919 ± 0.003 of the time, lightness from colour 0.872 ±
0.005; control with shuffled targets 0.664 ± 0.000 (two seeds) and 0.622 ± 0.000 (most pixels are
background, whose class can be guessed); loss 0.998 ± 0.026 against 2.692 ± 0.015. Which of six
games, ten labels a game, against the same at random initialisation (raw pixels 0.995: the games
differ in plain sight, the probe says little):

    conv1 0.995 ± 0.000 (0.992 ± 0.004)    conv2 0.995 ± 0.000 (0.988 ± 0.009)
    conv3 0.995 ± 0.000 (0.984 ± 0.009)    conv5 0.995 ± 0.000 (0.949 ± 0.010)
"""

from ssl_jax.config import call, choose
from ssl_jax.data.sources.arcade import ArcadeSource
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.sources.tfds import TfdsSource
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.split_brain import SplitBrain
from ssl_jax.models.dense_alexnet import DenseAlexNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, imagenet, arcade, tiny)


def imagenet():
    train = call(TfdsSource, name="imagenet2012", split="train")
    probe = call(TfdsSource, name="imagenet2012", split="train[:5%]")
    test = call(TfdsSource, name="imagenet2012", split="validation")
    return call(
        Experiment,
        source=train,
        method=call(SplitBrain, vision=call(DenseAlexNet, width=0.5, groups=1)),
        optimizer=call(
            Optimizer,
            name="adam",
            learning_rate=3.16e-5,
            schedule=call(Step, boundaries=(200_000, 375_000), decay=0.316),
            beta2=0.99,
            weight_decay=1e-3,
        ),
        steps=450_000,
        batch_size=80,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=80, every=10_000),
            "linear": call(Linear, train=probe, test=test),
        },
    )


def arcade():
    games = ("seaquest", "enduro", "space_invaders", "beam_rider", "assault", "demon_attack")
    data = {"games": games, "seconds": 2.0, "frame_skip": 4, "height": 72, "width": 72}
    train = call(ArcadeSource, clips_per_game=128, **data)
    test = call(ArcadeSource, clips_per_game=32, split="test", **data)
    half = call(DenseAlexNet, width=0.125, groups=1, conv1_stride=2, fc6=1024, fc7=1024)
    return call(
        Experiment,
        source=train,
        method=call(SplitBrain, vision=half, size=65, stored=72, stride=8),
        optimizer=call(
            Optimizer, name="adam", learning_rate=2e-3, schedule=call(Cosine), beta2=0.99
        ),
        steps=250,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=32),
            "linear": call(
                Linear,
                train=train,
                test=test,
                read=call(Read, layers=("input", "conv1", "conv2", "conv3", "conv5")),
                l2=(1e-2, 1e-1, 1.0),
                labels_per_class=2,
            ),
        },
    )


def tiny():
    train = call(SyntheticSource, size=24, frames=1, height=40, width=40)
    test = call(SyntheticSource, size=16, frames=1, height=40, width=40, seed=1)
    half = call(DenseAlexNet, width=0.0625, groups=1, conv1_stride=2, fc6=128, fc7=128)
    return call(
        Experiment,
        source=train,
        method=call(SplitBrain, vision=half, size=33, stored=40, stride=8),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, beta2=0.99),
        steps=4,
        batch_size=8,
        eval_batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8),
            "linear": call(Linear, train=train, test=test, read=call(Read, layers=("conv3",))),
        },
    )
