"""Fine-tuning a rotation trunk on CIFAR-10, or on a few labels of it.

    python -m ssl_jax.train --config=configs/finetune/cifar10.py --workdir=runs/cifar10

Without --config.init_from=runs/rotation, a run of configs/image/rotation_cifar10.py, it trains from
scratch. Few labels: --config.source.split='train[:2%]' are a hundred a class. Data: TFDS `cifar10`,
prepared as array_record. Cost: 100 epochs, not measured.

Paper: with another head (two blocks of the trunk and one drawn anew) 92.17 %, supervised 92.80.
The schedule is ours. Ours at this setting: not measured.

Variants: `:fashion` has 200 labels of Fashion-MNIST, from the idx files in data/fashion_mnist, for
the trunk of configs/image/rotation_cifar10.py:fashion, and trains in minutes on a CPU; `:tiny` is
four steps on synthetic data.

Ours, `:fashion`, accuracy on 2,000 test pictures, three seeds (mean ± deviation; two to three
minutes each on two busy CPU cores): 0.725 ± 0.011 from one rotation trunk (its seed 0), from
scratch 0.694 ± 0.009.
"""

from ssl_jax.config import call, choose
from ssl_jax.data.sources.idx import IdxSource
from ssl_jax.data.sources.synthetic import SHAPES, SyntheticSource
from ssl_jax.data.sources.tfds import TfdsSource
from ssl_jax.evals.finetuned import Classification
from ssl_jax.experiment import Experiment
from ssl_jax.methods.finetune import Finetune
from ssl_jax.methods.label_tasks import OneLabel
from ssl_jax.models.nin import NIN
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step

# As the rotation trunk was trained.
CIFAR = {"mean": (0.4914, 0.4824, 0.4467), "std": (0.2471, 0.2435, 0.2616)}


def get_config(variant: str = ""):
    """All of CIFAR-10, or a variant."""
    return choose(variant, cifar10, fashion, tiny)


def finetune(size: int, padding: int, classes: int, trunk):
    return call(
        Finetune,
        task=call(OneLabel, classes=classes),
        vision=trunk,
        height=size,
        width=size,
        crop=size,
        padding=padding,
        **CIFAR,
    )


def cifar10():
    epoch = 50_000 // 128
    return call(
        Experiment,
        source=call(TfdsSource, name="cifar10", split="train"),
        method=finetune(32, 4, 10, call(NIN)),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.1,
            schedule=call(Step, boundaries=(35 * epoch, 70 * epoch, 85 * epoch), decay=0.2),
            nesterov=True,
            weight_decay=5e-4,
        ),
        steps=100 * epoch,
        batch_size=128,
        evaluators={
            "test": call(
                Classification, test=call(TfdsSource, name="cifar10", split="test"), clips=1
            )
        },
    )


def fashion():
    train = call(IdxSource, path="data/fashion_mnist", split="train", limit=200)
    test = call(IdxSource, path="data/fashion_mnist", split="test", limit=2000)
    return call(
        Experiment,
        source=train,
        method=finetune(28, 2, 10, call(NIN, blocks=3, width=0.25)),
        optimizer=call(
            Optimizer, name="sgd", learning_rate=0.02, schedule=call(Cosine), weight_decay=5e-4
        ),
        steps=200,
        batch_size=32,
        evaluators={"test": call(Classification, test=test, clips=1)},
    )


def tiny():
    train = call(SyntheticSource, size=24, frames=1, height=16, width=16)
    test = call(SyntheticSource, size=16, frames=1, height=16, width=16, seed=1)
    return call(
        Experiment,
        source=train,
        method=finetune(16, 2, len(SHAPES), call(NIN, blocks=3, width=0.05)),
        optimizer=call(Optimizer, name="sgd", learning_rate=0.05),
        steps=4,
        batch_size=8,
        eval_batch_size=8,
        evaluators={"test": call(Classification, test=test, clips=1)},
    )
