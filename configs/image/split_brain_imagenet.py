"""Split-brain autoencoder on ImageNet: AlexNet in two halves, both classifying ('cl,cl').

    python -m ssl_jax.train --config=image/split_brain_imagenet.py --workdir=runs/split

Data: TFDS `imagenet2012`, prepared as array_record; without labels in training.
Cost: 450,000 steps, not measured.
Paper: linear probe of conv1 to conv5 17.7, 29.3, 35.4, 35.2, 32.8 %; 17.4, 27.9, 33.6, 34.2, 32.3 %
with --config.method.criterion=reg, trained on all labels; here a twentieth of the training set is
probed.

The paper's other designs: --config.method.design='ensemble' with the halves as they are; 'L->ab',
'ab->L', 'Lab->Lab', 'drop50', 'single', 'single+Lab' with one whole net, that is with
--config.method.vision.width=1.0 --config.method.vision.groups=2 as well.

Variants: `:arcade` trains narrow halves on game video in minutes on a CPU; `:tiny` is four steps on
synthetic data.

    :arcade           colour       lightness    linear probe, which of six games, 2 labels per game
                      from light.  from colour  conv1        conv2        conv3        conv5
    ours              0.919±0.003  0.872±0.005  0.995±0.000  0.995±0.000  0.995±0.000  0.995±0.000
    random init       –            –            0.992±0.004  0.988±0.009  0.984±0.009  0.949±0.010
    shuffled control  0.664±0.000  0.622±0.000  –
    raw pixels        –            –            0.995
    3 seeds (control: 2), 3 minutes each on 1 CPU core; paper's setting: not measured

Loss 0.998 ± 0.026, control 2.692 ± 0.015. The control reaches 0.6 because most pixels are
background, whose class can be guessed. The games differ in plain sight, so the probe says little.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
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
    train, probe, test = presets.imagenet()
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
    data = {"seconds": 2.0, "frame_skip": 4, "height": 72, "width": 72}
    train, test = presets.arcade(presets.SIX_GAMES, 128, 32, **data)
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
    half = call(DenseAlexNet, width=0.0625, groups=1, conv1_stride=2, fc6=128, fc7=128)
    return presets.tiny(
        call(SplitBrain, vision=half, size=33, stored=40, stride=8),
        presets.synthetic(40),
        read=call(Read, layers=("conv3",)),
    )
