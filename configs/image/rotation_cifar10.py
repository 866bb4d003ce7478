"""Rotation (RotNet) on CIFAR-10 with the paper's four-block Network in Network.

    python -m ssl_jax.train --config=image/rotation_cifar10.py --workdir=runs/rotation

Data: TFDS `cifar10`, prepared as array_record.
Cost: 200 epochs, not measured.
Paper: a perceptron with two hidden layers (`mlp`) reaches 85.07, 89.06, 86.21 and 61.73 % on blocks
1 to 4, three convolutions (`conv`) 91.16 % on block 2; here both probe every layer, and so does
`linear`. With --config.method.vision.blocks=3 `mlp` reaches 85.45, 88.56, 62.09 %; its deepest
network has 5.

Variants: `:fashion` trains a narrow network on Fashion-MNIST in minutes on a CPU, from the idx
files in data/fashion_mnist, `:audited` with the audit for shortcuts; `:tiny` is four steps on
synthetic data.

    :fashion          rotation        linear probe, 10 labels per class
                      (chance 0.25)   block1          block2          block3          pool
    ours              0.926 ± 0.005   0.744 ± 0.005   0.749 ± 0.002   0.725 ± 0.009   0.600 ± 0.003
    random init       –               0.728 ± 0.006   0.710 ± 0.009   0.684 ± 0.020   0.574 ± 0.028
    shuffled control  0.251 ± 0.020   –
    raw pixels        –               0.705
    3 seeds, 1.5 minutes each on 2 CPU cores; paper's setting: not measured

`conv` on block2, 10 labels per class: ours 0.700 ± 0.006, random init 0.657 ± 0.006.

Audit for shortcuts, `:audited` (1 seed, 512 test images; accuracy 0.922, two convolutions alone
0.803): without the finest detail it loses 0.098 [0.076, 0.119] more than in the control, which at
28 pixels is what there is to see. Black borders 0.039 [-0.001, 0.079]; of no other cue is the
interval above 0 (JPEG grid, watermark, zero padding, BatchNorm).
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.nonlinear import Nonlinear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.ridge import Ridge
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.rotation import Rotation
from ssl_jax.models.nin import NIN
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, cifar10, fashion, audited, tiny)


def cifar10():
    train, probe, test = presets.cifar10()
    epoch = 50_000 // 128
    return call(
        Experiment,
        source=train,
        method=call(Rotation, vision=call(NIN)),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.1,
            schedule=call(Step, boundaries=(60 * epoch, 120 * epoch, 160 * epoch), decay=0.2),
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
        ),
        steps=200 * epoch,
        batch_size=128,
        evaluators={
            "pretext": call(Pretext, source=test, every=5 * epoch),
            "ridge": call(Ridge, train=probe, test=test, every=20 * epoch),
            "linear": call(Linear, train=probe, test=test),
            "mlp": call(Nonlinear, train=probe, test=test, head="mlp"),
            "conv": call(Nonlinear, train=probe, test=test),
        },
    )


def fashion():
    train, probe, test = presets.fashion_mnist()
    return call(
        Experiment,
        source=train,
        method=call(Rotation, vision=call(NIN, blocks=3, width=0.25), size=28, padding=2),
        optimizer=call(
            Optimizer, name="sgd", learning_rate=0.05, schedule=call(Cosine), weight_decay=5e-4
        ),
        steps=150,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test),
            "linear": call(Linear, train=probe, test=test, labels_per_class=10),
            "conv": call(Nonlinear, train=probe, test=test, features=48, labels_per_class=10),
        },
    )


def audited():
    return presets.audited(fashion())


def tiny():
    train, test = presets.synthetic(16)
    conv = call(Nonlinear, train=train, test=test, features=8, epochs=2)
    return presets.tiny(
        call(Rotation, vision=call(NIN, blocks=3, width=0.05), size=16, padding=2),
        (train, test),
        more={"conv": conv},
    )
