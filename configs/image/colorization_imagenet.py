"""Colorization on ImageNet: AlexNet, whose features the paper probes.

    python -m ssl_jax.train --config=configs/image/colorization_imagenet.py --workdir=runs/colour

Data: TFDS `imagenet2012`, prepared as array_record; without labels in training. Cost: 450,000
steps, not measured.
Paper: linear probe on conv1 to conv5 13.1, 24.8, 31.0, 32.6, 31.8 %. Ours: not measured. (Those are
of classifiers on all labels; here a twentieth of the training set is probed.)

Variants: `:vgg` is the network that colours pictures; `:arcade` trains a narrow one of that kind on
game video in minutes on a CPU; `:tiny` is four steps on synthetic data. A trained run
colours any pictures:

    python -m ssl_jax.apply colorize PICTURE... --workdir=runs/colour

Ours, `:arcade`, three seeds (mean ± deviation; four minutes each on one CPU core), on new pictures:
the right one of 313 colours 0.554 ± 0.028 of the time and 13.1 ± 0.9 away from it (a, b of Lab),
control with shuffled targets 0.141 ± 0.021, 32.5 ± 1.1 away, which is no nearer than at random
initialisation (31.3 ± 0.2): it has learnt which colours are frequent. Which of six games, ten
labels a game, against the same at random initialisation (raw pixels 0.995: the games differ in
plain sight, the probe says little):

    conv2_2 0.945 ± 0.040 (0.932 ± 0.065)    conv4_3 0.962 ± 0.035 (0.908 ± 0.026)
    conv5_3 0.965 ± 0.033 (0.887 ± 0.018)    conv7_3 0.960 ± 0.022 (0.889 ± 0.021)
"""

from ssl_jax.config import call, choose
from ssl_jax.data.sources.arcade import ArcadeSource
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.sources.tfds import TfdsSource
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.colorization import Colorization
from ssl_jax.models.dense_alexnet import DenseAlexNet
from ssl_jax.models.vgg import DilatedVGG
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, imagenet, vgg, arcade, tiny)


def imagenet():
    return paper(call(Colorization, vision=call(DenseAlexNet)), batch_size=80)


def vgg():
    method = call(Colorization, vision=call(DilatedVGG), size=176, stride=4)
    return paper(method, batch_size=40)


def paper(method, batch_size: int):
    """Either network, trained as the paper says."""
    train = call(TfdsSource, name="imagenet2012", split="train")
    probe = call(TfdsSource, name="imagenet2012", split="train[:5%]")
    test = call(TfdsSource, name="imagenet2012", split="validation")
    return call(
        Experiment,
        source=train,
        method=method,
        optimizer=call(
            Optimizer,
            name="adam",
            learning_rate=3.16e-5,
            schedule=call(Step, boundaries=(200_000, 375_000), decay=0.316),
            beta1=0.9,
            beta2=0.99,
            weight_decay=1e-3,
        ),
        steps=450_000,
        batch_size=batch_size,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=batch_size, every=10_000),
            "linear": call(Linear, train=probe, test=test),
        },
    )


def arcade():
    games = ("seaquest", "enduro", "space_invaders", "beam_rider", "assault", "demon_attack")
    data = {"games": games, "seconds": 2.0, "frame_skip": 4, "height": 72, "width": 72}
    train = call(ArcadeSource, clips_per_game=128, **data)
    test = call(ArcadeSource, clips_per_game=32, split="test", **data)
    return call(
        Experiment,
        source=train,
        method=call(
            Colorization, vision=call(DilatedVGG, width=0.125), size=64, stored=72, stride=4
        ),
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
                read=call(Read, layers=("input", "conv2_2", "conv4_3", "conv5_3", "conv7_3")),
                l2=(1e-2, 1e-1, 1.0),
                labels_per_class=2,
            ),
        },
    )


def tiny():
    train = call(SyntheticSource, size=24, frames=1, height=40, width=40)
    test = call(SyntheticSource, size=16, frames=1, height=40, width=40, seed=1)
    narrow = call(DenseAlexNet, width=0.0625, conv1_stride=2, fc6=128, fc7=128)
    return call(
        Experiment,
        source=train,
        method=call(Colorization, vision=narrow, size=33, stored=40),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, beta2=0.99),
        steps=4,
        batch_size=8,
        eval_batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8),
            "linear": call(Linear, train=train, test=test, read=call(Read, layers=("conv3",))),
        },
    )
