"""Exemplar-CNN on STL-10: 16000 patches, each a class of its own, with the 64-128-256-512 network.

    python -m ssl_jax.train --config=image/exemplar_stl10.py --workdir=runs/exemplar

Data: TFDS `stl10`, prepared as array_record.
Cost: 1.2 million steps, not measured.
Paper: its larger network reaches 74.2 ± 0.4 % by one-vs-all linear SVMs on features pooled over
four quarters.
Differs from the paper: the authors divided the learning rate by 3 where validation stalled; here
that is after 1/2, 3/4 and 7/8 of the steps.

Variants: `:fashion` tells 1000 Fashion-MNIST images apart in minutes on a CPU, from the idx files
in data/fashion_mnist; `:tiny` is four steps on synthetic data. The pretext accuracy is measured on
new augmentations of training images: a held-out image is no class.

    :fashion          which of 1000   linear probe, 10 labels per class
                      (chance 0.001)  pool1           pool2           conv3           fc
    ours              0.050 ± 0.010   0.730 ± 0.005   0.722 ± 0.004   0.727 ± 0.002   0.697 ± 0.009
    random init       –               0.726 ± 0.002   0.725 ± 0.005   0.711 ± 0.007   0.694 ± 0.009
    shuffled control  0.001 ± 0.001   –
    raw pixels        –               0.705
    3 seeds, 2.5 minutes each on 1 CPU core; paper's setting: not measured
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.tfds import TfdsSource
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.exemplar import Exemplar
from ssl_jax.models.encoders import ConvNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, stl10, fashion, tiny)


def stl10():
    exemplars, steps = 16_000, 1_200_000
    seeds = call(TfdsSource, name="stl10", split=f"unlabelled[:{exemplars}]")
    train = call(TfdsSource, name="stl10", split="train")
    test = call(TfdsSource, name="stl10", split="test")
    return call(
        Experiment,
        source=seeds,
        method=call(Exemplar, vision=call(ConvNet), exemplars=exemplars),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.01,
            schedule=call(
                Step, boundaries=(steps // 2, 3 * steps // 4, 7 * steps // 8), decay=1 / 3
            ),
            momentum=0.9,
            weight_decay=0.004,
        ),
        steps=steps,
        batch_size=128,
        evaluators={
            "pretext": call(Pretext, source=seeds, every=20_000),
            "linear": call(Linear, train=train, test=test),
        },
    )


def fashion():
    seeds, probe, test = presets.fashion_mnist(limit=1000)
    return call(
        Experiment,
        source=seeds,
        method=call(
            Exemplar,
            vision=call(ConvNet, window=6, dropout=0.2, width=0.5),
            exemplars=1000,
            size=24,
            stored=28,
        ),
        optimizer=call(
            Optimizer,
            name="adamw",
            learning_rate=1e-3,
            schedule=call(Cosine, warmup=50),
        ),
        steps=600,
        batch_size=64,
        evaluators={
            "pretext": call(Pretext, source=seeds),
            "linear": call(Linear, train=probe, test=test, labels_per_class=10),
        },
    )


def tiny():
    train, test = presets.synthetic(24)
    trunk = call(ConvNet, window=4, width=0.125)
    return presets.tiny(
        call(Exemplar, vision=trunk, exemplars=24, size=16, stored=24),
        (train, test),
        more={"pretext": call(Pretext, source=train, batch_size=8)},
    )
