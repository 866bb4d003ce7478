"""Jigsaw++ on ImageNet: puzzles of nine tiles, up to two of them from another image.

    python -m ssl_jax.train --config=image/jigsaw_plus_imagenet.py --workdir=runs/teacher

Data: TFDS `imagenet2012`, prepared as array_record.
Cost: 350,000 steps of 256 images with AlexNet, not measured.
Paper: with VGG-16 as teacher, whose clusters an AlexNet then learns
(image/cluster_transfer_imagenet.py), 72.5 % on VOC 2007 after fine-tuning.

Variants: `:fashion` trains a narrow network on Fashion-MNIST in minutes on a CPU, from the idx
files in data/fashion_mnist; `:tiny` is four steps on synthetic data.

    :fashion          permutation     linear probe, 10 labels per class
                      (chance 0.042)  block1          block2          block3          pool
    ours              0.889 ± 0.002   0.742 ± 0.005   0.722 ± 0.005   0.710 ± 0.010   0.644 ± 0.005
    random init       0.042 ± 0.014   0.741 ± 0.003   0.720 ± 0.009   0.706 ± 0.026   0.619 ± 0.016
    shuffled control  0.041 ± 0.003   –
    raw pixels        –               0.714
    3 seeds, 2 minutes each on 1 CPU core; paper's setting: not measured
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.jigsaw import Jigsaw
from ssl_jax.models.alexnet import CONVS, AlexNet
from ssl_jax.models.nin import NIN
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, imagenet, fashion, tiny)


def imagenet():
    train, probe, test = presets.imagenet()
    trunk = call(
        AlexNet,
        lrn=True,
        normed=(),
        conv1_stride=2,
        fc6=0,
        fc7=0,
        weight_init="caffe",
        one_biases=("conv2", "conv4", "conv5"),
    )
    return call(
        Experiment,
        source=train,
        method=call(
            Jigsaw,
            vision=trunk,
            stored=256,
            grey=0.5,
            project=0.5,
            permutations=701,
            foreign=2,
            rms=50.0,
            caffe_init=True,
        ),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.01,
            schedule=call(Step, boundaries=(100_000, 200_000, 300_000)),
            weight_decay=5e-4,
        ),
        steps=350_000,
        batch_size=256,
        evaluators={
            "pretext": call(Pretext, source=test, every=10_000),
            "linear": call(
                Linear, train=probe, test=test, read=call(Read, layers=CONVS, pool="avg")
            ),
        },
    )


def fashion():
    train, probe, test = presets.fashion_mnist()
    return call(
        Experiment,
        source=train,
        method=call(
            Jigsaw,
            vision=call(NIN, blocks=3, width=0.25),
            stored=33,
            size=30,
            tile=8,
            channel_shift=0,
            grey=0.0,
            permutations=24,
            foreign=2,
            embedding=32,
            hidden=(256,),
            dropout=0.0,
        ),
        optimizer=call(
            Optimizer, name="sgd", learning_rate=0.05, schedule=call(Cosine), weight_decay=5e-4
        ),
        steps=300,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test),
            "linear": call(Linear, train=probe, test=test, labels_per_class=10),
        },
    )


def tiny():
    method = call(
        Jigsaw,
        vision=call(NIN, blocks=3, width=0.05),
        stored=34,
        size=33,
        tile=8,
        grey=0.5,
        project=0.5,
        permutations=12,
        foreign=2,
        embedding=16,
        hidden=(16,),
    )
    return presets.tiny(method, presets.synthetic(36))
