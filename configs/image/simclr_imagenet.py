"""SimCLR on ImageNet with ResNet-50, batch 4096, 100 epochs.

    python -m ssl_jax.train --config=image/simclr_imagenet.py --workdir=runs/simclr

Data: TFDS `imagenet2012`, prepared as array_record.
Cost: about 6 hours on 32 TPU v3 cores by the authors' code; ours not measured.
Paper: 64.6 % by a linear probe on all labels (table B.1); here a twentieth of the training set is
probed, and all of it by kNN.

The learning rate is 0.3 per 256 rows. For batches below 4096 the paper prefers the square root,
0.075 per sqrt(row); changing batch_size changes neither the rate nor the number of steps.

Variants: `:v2` is the second version (Chen et al. 2020, "Big Self-Supervised Models are Strong
Semi-Supervised Learners"): a head of three layers, of which the first is kept (features `head1`),
800 epochs, square-root rate; paper: 71.7 % by a linear probe. `:tiny` is four steps on synthetic
data.

Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.knn import Knn
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.simclr import SimCLR
from ssl_jax.models.resnet import ResNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine

ROWS = 4096


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, imagenet, v2, tiny)


def imagenet():
    method = call(
        SimCLR,
        vision=call(ResNet, depth=50, pool_padding="SAME"),
        additive_brightness=True,
        centre=0.875,
    )
    return paper(method, epochs=100, warm_up=10, rate=0.3 * ROWS / 256, weight_decay=1e-6)


def v2():
    method = call(
        SimCLR,
        vision=call(ResNet, depth=50, pool_padding="SAME"),
        hidden=(2048, 2048),
        centre=0.875,
    )
    return paper(method, epochs=800, warm_up=40, rate=0.1 * ROWS**0.5, weight_decay=1e-4)


def paper(method, epochs: int, warm_up: int, rate: float, weight_decay: float):
    """Either version; the learning rate rises over the first `warm_up` epochs."""
    train, probe, test = presets.imagenet()
    images = 1_281_167
    return call(
        Experiment,
        source=train,
        method=method,
        optimizer=call(
            Optimizer,
            name="lars",
            learning_rate=rate,
            schedule=call(Cosine, warmup=warm_up * images // ROWS),
            weight_decay=weight_decay,
        ),
        steps=images * epochs // ROWS + 1,
        batch_size=ROWS,
        dtype="bfloat16",
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=ROWS, every=3000),
            "knn": call(Knn, train=train, test=test, read=call(Read, layers=("pool",))),
            "linear": call(
                Linear, train=probe, test=test, read=call(Read, layers=("pool", "head1"))
            ),
        },
    )


def tiny():
    trunk = call(ResNet, depth=18, width=0.0625)
    return presets.tiny(
        call(SimCLR, vision=trunk, size=32, stored=40, hidden=(16,), embedding=8),
        presets.synthetic(40),
    )
