"""Colorization on ImageNet: AlexNet, whose features the paper probes.

    python -m ssl_jax.train --config=image/colorization_imagenet.py --workdir=runs/colour

Data: TFDS `imagenet2012`, prepared as array_record; without labels in training.
Cost: 450,000 steps, not measured.
Paper: linear probe of conv1 to conv5 13.1, 24.8, 31.0, 32.6, 31.8 %, trained on all labels; here a
twentieth of the training set is probed.

Variants: `:vgg` is the network that colours images; `:arcade` trains a narrow one of that kind on
game video in minutes on a CPU; `:tiny` is four steps on synthetic data. A trained run colours any
images:

    python -m ssl_jax.apply colorize IMAGE... --workdir=runs/colour

    :arcade           which of 313  distance in  linear probe, which of six games, 2 labels per game
                      colours       a, b of Lab  conv2_2      conv4_3      conv5_3      conv7_3
    ours              0.554±0.028   13.1±0.9     0.945±0.040  0.962±0.035  0.965±0.033  0.960±0.022
    random init       –             31.3±0.2     0.932±0.065  0.908±0.026  0.887±0.018  0.889±0.021
    shuffled control  0.141±0.021   32.5±1.1     –
    raw pixels        –             –            0.995
    3 seeds, 4 minutes each on 1 CPU core; paper's setting: not measured

The control has learnt which colours are frequent, and is no nearer to the right ones than random
init. The games differ in plain sight, so the probe says little.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
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
    train, probe, test = presets.imagenet()
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
    data = {"seconds": 2.0, "frame_skip": 4, "height": 72, "width": 72}
    train, test = presets.arcade(presets.SIX_GAMES, 128, 32, **data)
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
    narrow = call(DenseAlexNet, width=0.0625, conv1_stride=2, fc6=128, fc7=128)
    train, test = presets.synthetic(40)
    conv3 = call(Read, layers=("conv3",))
    return presets.tiny(
        call(Colorization, vision=narrow, size=33, stored=40),
        (train, test),
        read=conv3,
        more={"linear": call(Linear, train=train, test=test, read=conv3)},
    )
