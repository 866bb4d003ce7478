"""Cluster transfer on ImageNet: AlexNet learns 2000 clusters of a Jigsaw++ network's features.

First train the teacher (jigsaw_plus_imagenet.py), here in runs/teacher, then cluster it, then:

    python -m ssl_jax.cluster --config=configs/image/cluster_transfer_imagenet.py \
        --workdir=runs/teacher
    python -m ssl_jax.train --config=configs/image/cluster_transfer_imagenet.py \
        --workdir=runs/transfer

Data: TFDS `imagenet2012`, prepared as array_record. Cost: as training AlexNet on labels; not
measured.
Paper: 72.5 % on VOC 2007 after fine-tuning, its teacher a VGG-16. Ours: not measured.

Variants: `:fashion` learns the clusters of the teacher jigsaw_plus_imagenet.py:fashion, in minutes
on a CPU; `:tiny` is four steps on synthetic data with its true classes.

Ours, `:fashion`, three seeds with a teacher each (mean ± deviation; two and a half minutes each on
one CPU core). Ten labels a class, against the same at random initialisation (raw pixels 0.705):

    block1 0.736 ± 0.004 (0.730 ± 0.008)    block2 0.731 ± 0.002 (0.709 ± 0.007)
    block3 0.711 ± 0.013 (0.685 ± 0.021)    pool   0.664 ± 0.012 (0.575 ± 0.025)
"""

from ssl_jax.config import call, choose
from ssl_jax.data.sources.idx import IdxSource
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.sources.tfds import TfdsSource
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.ridge import Ridge
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.cluster_transfer import ClusterTransfer
from ssl_jax.models.alexnet import AlexNet
from ssl_jax.models.nin import NIN
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, imagenet, fashion, tiny)


def imagenet():
    train = call(TfdsSource, name="imagenet2012", split="train")
    probe = call(TfdsSource, name="imagenet2012", split="train[:5%]")
    test = call(TfdsSource, name="imagenet2012", split="validation")
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
                Linear,
                train=probe,
                test=test,
                read=call(Read, layers=("conv1", "conv2", "conv3", "conv4", "conv5"), pool="avg"),
            ),
        },
    )


def fashion():
    train = call(IdxSource, path="data/fashion_mnist", split="train", limit=20_000)
    test = call(IdxSource, path="data/fashion_mnist", split="test", limit=2000)
    probe = call(IdxSource, path="data/fashion_mnist", split="train", limit=2000)
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
        evaluators={
            "linear": call(Linear, train=probe, test=test, labels_per_class=10),
        },
    )


def tiny():
    train = call(SyntheticSource, size=24, frames=1, height=20, width=20)
    test = call(SyntheticSource, size=16, frames=1, height=20, width=20, seed=1)
    return call(
        Experiment,
        source=train,
        method=call(
            ClusterTransfer,
            vision=call(NIN, blocks=3, width=0.05),
            clusters="",
            classes=4,
            stored=18,
            size=16,
        ),
        optimizer=call(Optimizer, name="sgd", learning_rate=0.05),
        steps=4,
        batch_size=8,
        eval_batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8),
            "ridge": call(Ridge, train=train, test=test),
        },
    )
