"""Jigsaw on ImageNet with the siamese AlexNet of the paper and 1000 permutations.

    python -m ssl_jax.train --config=image/jigsaw_imagenet.py --workdir=runs/jigsaw

Data: TFDS `imagenet2012` and, for the support vector machines of Goyal et al. 2019, `voc/2007`,
prepared as array_record.
Cost: 350,000 steps; 59.5 hours on one GPU of 2016 by the authors' code, ours not measured.
Paper: linear probe of conv1 to conv5 19.2, 30.1, 34.7, 33.9, 28.3 %.

Variants: `:fashion` trains a narrow network on Fashion-MNIST in minutes on a CPU, from the idx
files in data/fashion_mnist, `:audited` with the audit for shortcuts; `:tiny` is four steps on
synthetic data.

    :fashion          permutation     linear probe, 10 labels per class
                      (chance 0.01)   block1          block2          block3          pool
    ours              0.783 ± 0.042   0.748 ± 0.003   0.736 ± 0.007   0.717 ± 0.011   0.630 ± 0.016
    random init       0.009 ± 0.001   0.741 ± 0.003   0.720 ± 0.009   0.706 ± 0.026   0.619 ± 0.016
    shuffled control  0.010 ± 0.002   –
    raw pixels        –               0.714
    3 seeds, 2 minutes each on 1 CPU core; paper's setting: not measured

Audit for shortcuts (1 seed, 512 test images): with tiles of 8 pixels, so 2 between them, this small
jigsaw cheated. It solved 0.899; with the rims of tiles blanked 0.080, with as large a strip inside
blanked 0.733: excess 0.653 [0.617, 0.688], and facing rims alone told 0.381 (0.012 by guessing).
Tiles have 6 pixels now, 4 between them: 0.730 are solved, rims alone tell 0.191 and their excess is
0.318 [0.276, 0.359]; the probe is as good. With tiles of 8 black borders had 0.376 [0.340, 0.412]:
where a garment ends is where a tile belongs. JPEG grid, tiles' statistics, BatchNorm: around 0.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.low_shot import VocLowShot
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.svm import VocSvm
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.jigsaw import Jigsaw
from ssl_jax.models.alexnet import CONVS, AlexNet
from ssl_jax.models.nin import NIN
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, imagenet, fashion, audited, tiny)


def imagenet():
    train, probe, test = presets.imagenet()
    _, voc_train, voc_test = presets.voc2007()
    windows = call(Read, layers=CONVS, pool="windows")
    voc = {"train": voc_train, "test": voc_test, "read": windows}
    trunk = call(AlexNet, lrn=True, normed=(), conv1_stride=2, fc6=0, fc7=0)
    return call(
        Experiment,
        source=train,
        method=call(Jigsaw, vision=trunk),
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
            "voc": call(VocSvm, **voc),
            "few": call(VocLowShot, **voc),
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
            tile=6,
            channel_shift=0,
            grey=0.0,
            permutations=100,
            puzzles=8,
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


def audited():
    return presets.audited(fashion())


def tiny():
    method = call(
        Jigsaw,
        vision=call(NIN, blocks=3, width=0.05),
        stored=34,
        size=33,
        tile=8,
        permutations=12,
        puzzles=2,
        embedding=16,
        hidden=(16,),
    )
    train, test = presets.synthetic(36)
    pool = {"train": train, "test": test, "read": call(Read, layers=("pool",), pool="windows")}
    more = {
        "voc": call(VocSvm, **pool, costs=(0.1, 1.0), folds=2),
        "few": call(VocLowShot, **pool, shots=(1, 2), samples=2, costs=(0.1, 1.0)),
    }
    return presets.tiny(method, (train, test), more=more)
