"""Data-dependent initialisation: AlexNet with k-means filters, probed as it is, without training.

    python -m ssl_jax.train --config=image/data_dependent_imagenet.py --workdir=runs/kmeans

Krähenbühl, Doersch, Donahue and Darrell, "Data-dependent Initializations of Convolutional Neural
Networks", ICLR 2016. Other filters: --config.init_from=data:gaussian (random), random, pca, zca. A
pretrained trunk, rescaled before it is fine-tuned: --config.init_from=runs/a+data:rescale.

Data: TFDS `imagenet2012` (`:voc2007`: `voc/2007`), prepared as array_record.
Cost: not measured.
Paper, fine-tuned on PASCAL VOC 2007: 56.6 % classification, 45.6 % detection; gaussian 53.3 and
43.4 %. Linear probe of conv1 to conv5 on ImageNet (Zhang et al.): 17.5, 23.0, 24.5, 23.2, 20.6 %.

Variants: `:voc2007`, filters of VOC's images, balanced, then fine-tuned on its labels; `:fashion`
probes a small network on Fashion-MNIST, from the idx files in data/fashion_mnist; `:tiny` is four
steps on synthetic data.

    :fashion, 2,000 images   ridge probe of pool2, 2,000 labels
    ours, k-means            0.865 ± 0.007
    gaussian, scaled         0.866 ± 0.002
    pca                      0.867 ± 0.009
    random init              0.852 ± 0.004
    3 seeds, 2 minutes each of 1 busy CPU core; paper's setting: not measured

Random init is N(0, 2 / inputs), which looks at no data: k-means is ahead of it in every seed. That
is due to the scale, not to the filters: gaussian ones with outputs of variance 1 do as well.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.synthetic import SHAPES
from ssl_jax.evals.finetuned import Classification, SeveralClasses
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.ridge import Ridge
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.finetune import Finetune
from ssl_jax.methods.label_tasks import OneLabel, SeveralLabels
from ssl_jax.models.alexnet import CONVS, AlexNet
from ssl_jax.models.encoders import ConvNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Step

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
UNTRAINED = {"steps": 0, "init_from": "data:kmeans"}


def get_config(variant: str = ""):
    """AlexNet's k-means filters, or a variant."""
    return choose(variant, imagenet, voc2007, fashion, tiny)


def imagenet():
    train, probe, test = presets.imagenet()
    return call(
        Experiment,
        source=train,
        method=call(
            Finetune,
            task=call(OneLabel, classes=1000),
            vision=call(AlexNet, normed=(), lrn=True, fc6=0, fc7=0),
            crop=227,
            **IMAGENET,
        ),
        optimizer=call(Optimizer),
        batch_size=64,
        evaluators={"linear": call(Linear, train=probe, test=test, read=call(Read, layers=CONVS))},
        **UNTRAINED,
    )


def voc2007():
    train, _, test = presets.voc2007()
    return call(
        Experiment,
        source=train,
        method=call(
            Finetune,
            task=call(SeveralLabels, classes=20),
            vision=call(AlexNet, normed=(), lrn=True),
            crop=227,
            area=(0.1, 1.0),
            crops=10,
            dropout=0.5,
            **IMAGENET,
        ),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=1e-3,
            schedule=call(Step, boundaries=(20_000, 40_000, 60_000), decay=0.5),
            weight_decay=1e-6,
        ),
        steps=80_000,
        batch_size=16,
        init_from="data:kmeans+data:rescale",
        evaluators={"test": call(SeveralClasses, test=test, clips=10)},
    )


def fashion():
    _, probe, test = presets.fashion_mnist()
    return call(
        Experiment,
        source=probe,
        method=call(
            Finetune,
            task=call(OneLabel, classes=10),
            vision=call(ConvNet, channels=(32, 64, 32), fc=32, window=7),
            height=28,
            width=28,
            crop=28,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        optimizer=call(Optimizer),
        batch_size=50,
        eval_batch_size=100,
        init_images=2000,
        evaluators={
            "ridge": call(Ridge, train=probe, test=test, read=call(Read, layers=("pool2",)))
        },
        **UNTRAINED,
    )


def tiny():
    train, test = presets.synthetic(16)
    method = call(
        Finetune,
        task=call(OneLabel, classes=len(SHAPES)),
        vision=call(ConvNet, channels=(16, 16), fc=8, window=8, width=0.5),
        height=16,
        width=16,
        crop=16,
    )
    config = presets.tiny(
        method, (train, test), evaluators={"test": call(Classification, test=test)}
    )
    config.init_from, config.init_images = "data:kmeans", 16
    return config
