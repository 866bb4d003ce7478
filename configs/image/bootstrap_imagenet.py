"""BYOL on ImageNet with ResNet-50, batch 4096, 1000 epochs.

    python -m ssl_jax.train --config=image/bootstrap_imagenet.py --workdir=runs/bootstrap

Data: TFDS `imagenet2012`, prepared as array_record.
Cost: about 8 hours on 512 TPU v3 cores by the authors' README; ours not measured.
Paper: 74.3 % by a linear probe on all labels; here a twentieth of the training set is probed, and
all of it by kNN.

Learning rates are per 256 rows, and those of the released presets, which differ by epochs (the
paper's text names the first): 0.2 for 1000 epochs, 0.3 for 300, 0.45 below. Smaller machines keep
4096 rows by micro_batches.

Differs from the released code: LARS has the learning rate inside its momentum.

Variants: `:epochs300`, `:epochs100` and `:epochs40` are the shorter presets; `:tiny` is four steps
on synthetic data.

Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.knn import Knn
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.bootstrap import Bootstrap
from ssl_jax.models.resnet import ResNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, imagenet, epochs300, epochs100, epochs40, tiny)


def imagenet():
    return preset(epochs=1000, rate=0.2, weight_decay=1.5e-6, tau=0.996)


def epochs300():
    return preset(epochs=300, rate=0.3, weight_decay=1e-6, tau=0.99)


def epochs100():
    return preset(epochs=100, rate=0.45, weight_decay=1e-6, tau=0.99)


def epochs40():
    return preset(epochs=40, rate=0.45, weight_decay=1e-6, tau=0.97)


def preset(epochs: int, rate: float, weight_decay: float, tau: float):
    """A run of the released code; `rate` is per 256 rows."""
    train, probe, test = presets.imagenet()
    images, rows = 1_281_167, 4096
    pool, slow = (call(Read, stream=name, layers=("pool",)) for name in ("vision", "slow"))
    return call(
        Experiment,
        source=train,
        method=call(Bootstrap, vision=call(ResNet, depth=50), tau=tau),
        optimizer=call(
            Optimizer,
            name="lars",
            learning_rate=rate * rows / 256,
            schedule=call(Cosine, warmup=10 * images // rows),
            weight_decay=weight_decay,
        ),
        steps=images * epochs // rows,
        batch_size=rows,
        dtype="bfloat16",
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=rows, every=3000),
            "knn": call(Knn, train=train, test=test, read=pool),
            "linear": call(Linear, train=probe, test=test, read=pool),
            "slow": call(Linear, train=probe, test=test, read=slow),
        },
    )


def tiny():
    trunk = call(ResNet, depth=18, width=0.0625)
    return presets.tiny(
        call(Bootstrap, vision=trunk, size=32, stored=40, hidden=16, embedding=8, tau=0.5),
        presets.synthetic(40),
    )
