"""Rotation and SimCLR together on one ResNet-18, on CIFAR-10.

    python -m ssl_jax.train --config=image/multitask_cifar10.py --workdir=runs/multitask

Data: TFDS `cifar10`, prepared as array_record.
Cost: not measured.
Paper: joins other tasks on ImageNet; this pairing has no published number.

Variants: `:fashion` trains a narrow network on Fashion-MNIST in minutes on a CPU, from the idx
files in data/fashion_mnist; `:tiny` is four steps on synthetic data.

    :fashion          rotation        other view      linear probe, 10 labels per class
                      (chance 0.25)   among 127       stem            stage3          pool
    ours              0.372 ± 0.012   0.201 ± 0.015   0.713 ± 0.003   0.666 ± 0.008   0.499 ± 0.012
    random init       –               0.040 ± 0.008   0.688 ± 0.001   0.638 ± 0.010   0.276 ± 0.014
    shuffled control  0.247 ± 0.003   0.061 ± 0.005   –
    raw pixels        –               –               0.705
    3 seeds, 2.5 minutes each on 1 CPU core; CIFAR-10: not measured

The control shuffles the rotations and the partners of the views.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.rotation import Rotation
from ssl_jax.methods.image.simclr import SimCLR
from ssl_jax.methods.multitask import Multitask
from ssl_jax.models.resnet import ResNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine


def get_config(variant: str = ""):
    """The full-size run, or a variant's."""
    return choose(variant, cifar10, fashion, tiny)


def tasks(width: float, size: int, hidden: int, embedding: int):
    """Both tasks on the same trunk, with pixels on the same scale."""
    trunk = call(ResNet, depth=18, stem="cifar", width=width)
    simclr = call(
        SimCLR,
        vision=trunk,
        size=size,
        stored=size,
        hidden=(hidden,),
        embedding=embedding,
        temperature=0.2,
        area=(0.2, 1.0),
        strength=0.5,
        blur=0.0,
    )
    rotation = call(
        Rotation, vision=trunk, size=size, padding=2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    )
    return call(Multitask, tasks={"simclr": simclr, "rotation": rotation})


def cifar10():
    train, probe, test = presets.cifar10()
    return call(
        Experiment,
        source=train,
        method=tasks(width=1.0, size=32, hidden=512, embedding=128),
        optimizer=call(
            Optimizer,
            name="lars",
            learning_rate=2.0,
            schedule=call(Cosine, warmup=976),
            weight_decay=1e-4,
        ),
        steps=20_000,
        batch_size=512,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=512, every=1000),
            "linear": call(Linear, train=probe, test=test),
        },
    )


def fashion():
    train, probe, test = presets.fashion_mnist()
    return call(
        Experiment,
        source=train,
        method=tasks(width=0.125, size=28, hidden=128, embedding=64),
        optimizer=call(
            Optimizer,
            name="adamw",
            learning_rate=2e-3,
            schedule=call(Cosine, warmup=50),
            weight_decay=1e-4,
        ),
        steps=150,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test),
            "linear": call(Linear, train=probe, test=test, labels_per_class=10),
        },
    )


def tiny():
    method = tasks(width=0.0625, size=16, hidden=16, embedding=8)
    return presets.tiny(method, presets.synthetic(16))
