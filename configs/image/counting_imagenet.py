"""Learning to count on ImageNet with AlexNet and 1000 counts.

    python -m ssl_jax.train --config=configs/image/counting_imagenet.py --workdir=runs/counting

Data: TFDS `imagenet2012`, prepared as array_record. Cost: not measured. The learning rate and
its decay are the paper's, Adam and the 200,000 steps are ours.
Paper: fine-tuned on PASCAL VOC 2007 67.7 % classification and 51.4 % detection. Ours: not measured.

Variants: `:fashion` counts in Fashion-MNIST pictures in minutes on a CPU, from the idx files
in data/fashion_mnist; `:tiny` is four steps on synthetic data. 'own' and 'other' are the squared
distances of the tiles' sum to the own picture's counts and to another's; their loss is the margin
where nothing is counted.

Ours, `:fashion`, three seeds (mean ± deviation; two and a half minutes each on one CPU core), on
new pictures: the tiles' counts lie nearer to their own picture's than to another's 0.988 ± 0.003 of
the time, at random initialisation 0.524 ± 0.024, control with shuffled tiles 0.321 ± 0.208, whose
counts all go to zero (own 0.09 ± 0.11, other 0.10 ± 0.13, against 0.64 ± 0.03 and 44.1 ± 2.1). The
probe gains nothing over random initialisation. Ten labels a class (raw pixels 0.702):

    pool1 0.721 ± 0.005 (0.723 ± 0.004)    conv2 0.704 ± 0.004 (0.704 ± 0.004)
    fc    0.648 ± 0.015 (0.658 ± 0.009)
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
from ssl_jax.methods.image.counting import Counting
from ssl_jax.models.alexnet import AlexNet
from ssl_jax.models.encoders import ConvNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, imagenet, fashion, tiny)


def imagenet():
    train = call(TfdsSource, name="imagenet2012", split="train")
    test = call(TfdsSource, name="imagenet2012", split="validation")
    return call(
        Experiment,
        source=train,
        method=call(Counting, vision=call(AlexNet, normed=(), dropout=0.0)),
        optimizer=call(
            Optimizer,
            name="adam",
            learning_rate=1e-4,
            schedule=call(Step, boundaries=tuple(range(10_000, 200_000, 10_000)), decay=0.9),
        ),
        steps=200_000,
        batch_size=256,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=256, every=5000),
            "linear": call(
                Linear,
                train=train,
                test=test,
                read=call(Read, layers=("conv1", "conv2", "conv3", "conv4", "conv5")),
            ),
        },
    )


def fashion():
    train = call(IdxSource, path="data/fashion_mnist", split="train")
    probe = call(IdxSource, path="data/fashion_mnist", split="train", limit=2000)
    test = call(IdxSource, path="data/fashion_mnist", split="test", limit=2000)
    return call(
        Experiment,
        source=train,
        method=call(
            Counting,
            vision=call(ConvNet, channels=(64, 128), fc=256, window=7, dropout=0.0, width=0.5),
            size=14,
            stored=28,
            counts=64,
            grey=1.0,
            mean=(0.286, 0.286, 0.286),
            std=(0.353, 0.353, 0.353),
        ),
        optimizer=call(
            Optimizer,
            name="adam",
            learning_rate=1e-3,
            schedule=call(Cosine, warmup=50),
        ),
        steps=600,
        batch_size=64,
        evaluators={
            "pretext": call(Pretext, source=test),
            "linear": call(Linear, train=probe, test=test, labels_per_class=10),
        },
    )


def tiny():
    train = call(SyntheticSource, size=24, frames=1, height=32, width=32)
    test = call(SyntheticSource, size=16, frames=1, height=32, width=32, seed=1)
    return call(
        Experiment,
        source=train,
        method=call(
            Counting,
            vision=call(ConvNet, channels=(64, 64), fc=128, window=7, dropout=0.0, width=0.125),
            size=14,
            stored=32,
            counts=16,
        ),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3),
        steps=4,
        batch_size=8,
        eval_batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8),
            "ridge": call(Ridge, train=train, test=test),
        },
    )
