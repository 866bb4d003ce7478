"""SimCLR on CIFAR-10 with ResNet-18, as in the README of the authors' code.

    python -m ssl_jax.train --config=image/simclr_cifar10.py --workdir=runs/simclr

Data: TFDS `cifar10`, prepared as array_record.
Cost: 1000 epochs, not measured.
Authors' README: about 91 % by a linear probe.

Variants: `:fashion` trains a narrow network on Fashion-MNIST in minutes on a CPU, from the idx
files in data/fashion_mnist, `:audited` with the audit for shortcuts; `:tiny` is four steps on
synthetic data.

    :fashion          other view among 127 (chance 0.008)
    ours              0.373 ± 0.027
    random init       0.045 ± 0.005
    shuffled control  0.066 ± 0.001

                      linear probe, 10 labels per class
                      stem         stage1       stage2       stage3       stage4       pool
    ours              0.717±0.007  0.722±0.006  0.706±0.008  0.690±0.013  0.674±0.015  0.580±0.028
    random init       0.703±0.009  0.696±0.011  0.700±0.011  0.646±0.013  0.585±0.009  0.309±0.019
    raw pixels        0.705
    3 seeds, 3 minutes each on 1 CPU core; authors' setting: not measured

Random init beats chance because two views are alike before anything is learnt; the control does
because wrong partners, too, spread the images apart.

Audit for shortcuts (1 seed, 512 test images in batches of 16; of the loss, 1.434 nats): without
black borders it loses 0.314 [0.241, 0.388] more than in the control: how much of the frame a shoe
leaves free tells it from others. JPEG grid, zero padding, BatchNorm: around 0. By its colours alone
(here: greys) the other view is found in 0.289 of cases, by borders in 0.186 (chance 0.062).
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.clustering import Clustering
from ssl_jax.evals.filters import Filters
from ssl_jax.evals.geometry import Geometry
from ssl_jax.evals.knn import Knn
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.nearest import Nearest
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.simclr import SimCLR
from ssl_jax.models.resnet import ResNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine


def get_config(variant: str = ""):
    """The authors' run, or a variant's."""
    return choose(variant, cifar10, fashion, audited, tiny)


def cifar10():
    train, probe, test = presets.cifar10()
    images, rows, epochs = 50_000, 512, 1000
    return call(
        Experiment,
        source=train,
        method=call(
            SimCLR,
            vision=call(ResNet, depth=18, stem="cifar"),
            size=32,
            stored=32,
            hidden=(512,),
            temperature=0.5,
            strength=0.5,
            blur=0.0,
        ),
        optimizer=call(
            Optimizer,
            name="lars",
            learning_rate=1.0 * rows / 256,
            schedule=call(Cosine, warmup=10 * images // rows),
            weight_decay=1e-4,
        ),
        steps=images * epochs // rows + 1,
        batch_size=rows,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=rows, every=1000),
            "knn": call(
                Knn, train=probe, test=test, read=call(Read, layers=("pool",)), k=200, every=10_000
            ),
            "linear": call(Linear, train=probe, test=test),
        },
    )


def fashion():
    train, probe, test = presets.fashion_mnist()
    return call(
        Experiment,
        source=train,
        method=call(
            SimCLR,
            vision=call(ResNet, depth=18, stem="cifar", width=0.125),
            size=28,
            stored=28,
            hidden=(128,),
            embedding=64,
            temperature=0.2,
            area=(0.2, 1.0),
            strength=0.5,
            blur=0.0,
        ),
        optimizer=call(
            Optimizer,
            name="adamw",
            learning_rate=2e-3,
            schedule=call(Cosine, warmup=50),
            weight_decay=1e-4,
        ),
        steps=300,
        batch_size=64,
        evaluators={
            "pretext": call(Pretext, source=test),
            "linear": call(Linear, train=probe, test=test, labels_per_class=10),
        },
    )


def audited():
    return presets.audited(fashion(), metric="contrastive_accuracy")


def tiny():
    train, test = presets.synthetic(16)
    pool = call(Read, layers=("pool",))
    method = call(
        SimCLR,
        vision=call(ResNet, depth=18, stem="cifar", width=0.0625),
        size=16,
        stored=16,
        hidden=(16,),
        embedding=8,
        blur=0.0,
    )
    more = {
        "clustering": call(Clustering, source=test, read=pool),
        "geometry": call(Geometry, source=test, every=2),
        "nearest": call(Nearest, source=test, read=pool, queries=4, neighbours=3),
        "filters": call(Filters),
    }
    return presets.tiny(method, (train, test), more=more)
