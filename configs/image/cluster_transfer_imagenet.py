"""Cluster transfer on ImageNet: AlexNet learns 2000 clusters of a Jigsaw++ network's features.

First train the teacher (image/jigsaw_plus_imagenet.py), here in runs/teacher, then cluster it:

    python -m ssl_jax.cluster --config=image/cluster_transfer_imagenet.py --workdir=runs/teacher
    python -m ssl_jax.train --config=image/cluster_transfer_imagenet.py --workdir=runs/transfer

Data: TFDS `imagenet2012`, prepared as array_record.
Cost: that of training AlexNet on labels; not measured.
Paper: 72.5 % on VOC 2007 after fine-tuning, its teacher a VGG-16.

Variants: `:fashion` learns the clusters of the teacher image/jigsaw_plus_imagenet.py:fashion, in
minutes on a CPU; `:tiny` is four steps on synthetic data with its true classes.

    :fashion          linear probe, 10 labels per class
                      block1          block2          block3          pool
    ours              0.736 ± 0.004   0.731 ± 0.002   0.711 ± 0.013   0.664 ± 0.012
    random init       0.730 ± 0.008   0.709 ± 0.007   0.685 ± 0.021   0.575 ± 0.025
    raw pixels        0.705
    3 seeds with a teacher each, 2.5 minutes each on 1 CPU core; paper's setting: not measured
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.linear import Linear
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.cluster_transfer import ClusterTransfer
from ssl_jax.models.alexnet import CONVS, AlexNet
from ssl_jax.models.nin import NIN
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, imagenet, fashion, tiny)


def imagenet():
    train, probe, test = presets.imagenet()
    epoch = 1_281_167 // 256
    return call(
        Experiment,
        source=train,
        method=call(ClusterTransfer, vision=call(AlexNet), clusters="runs/teacher/clusters.npz"),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.01,
            schedule=call(Step, boundaries=(30 * epoch, 60 * epoch)),
            weight_decay=5e-4,
        ),
        steps=90 * epoch,
        batch_size=256,
        evaluators={
            "linear": call(
                Linear, train=probe, test=test, read=call(Read, layers=CONVS, pool="avg")
            ),
        },
    )


def fashion():
    train, probe, test = presets.fashion_mnist(limit=20_000)
    return call(
        Experiment,
        source=train,
        method=call(
            ClusterTransfer,
            vision=call(NIN, blocks=3, width=0.25),
            clusters="runs/teacher/clusters.npz",
            classes=50,
            layer="block3",
            stored=30,
            size=28,
            mean=(0.286, 0.286, 0.286),
            std=(0.353, 0.353, 0.353),
        ),
        optimizer=call(
            Optimizer, name="sgd", learning_rate=0.05, schedule=call(Cosine), weight_decay=5e-4
        ),
        steps=300,
        batch_size=64,
        evaluators={"linear": call(Linear, train=probe, test=test, labels_per_class=10)},
    )


def tiny():
    trunk = call(NIN, blocks=3, width=0.05)
    return presets.tiny(
        call(ClusterTransfer, vision=trunk, clusters="", classes=4, stored=18, size=16),
        presets.synthetic(20),
    )
