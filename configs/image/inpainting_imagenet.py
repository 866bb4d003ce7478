"""Context encoders on ImageNet: the inpainting network, or the one that features are taken from.

    python -m ssl_jax.train --config=image/inpainting_imagenet.py --workdir=runs/inpainting

Without a variant it fills the middle of 128 pixels with the help of a critic, as in the authors'
code but for its single learning rate. `:features` is AlexNet on 227 pixels with random regions and
no critic; its steps and learning rate are ours.

Data: TFDS `imagenet2012`, prepared as array_record.
Cost: not measured.
Paper, `:features`: fine-tuned on PASCAL VOC 2007 56.5 % classification and 44.5 % detection; linear
probe of conv1 to conv5 on ImageNet 14.1, 20.7, 21.0, 19.8, 15.5 %.

Variants: `:features`; `:arcade` fills the middle of frames of ten games with the help of a critic,
in minutes on a CPU; `:fashion` learns features of Fashion-MNIST with random regions and no critic,
in about a minute, from the idx files in data/fashion_mnist; `:tiny` is four steps on synthetic
data.

    :fashion          squared error   linear probe, 10 labels per class
                      of the filling  conv1           conv2           code
    ours              0.105 ± 0.008   0.714 ± 0.003   0.712 ± 0.002   0.689 ± 0.003
    random init       0.739 ± 0.000   0.710 ± 0.004   0.706 ± 0.005   0.661 ± 0.015
    shuffled control  0.324 ± 0.001   –
    raw pixels        –               0.705
    3 seeds, 2 minutes each on 1 CPU core; paper's setting: not measured

    :arcade           squared error of the filling
    ours              0.056 ± 0.006
    random init       2.150 ± 0.000
    shuffled control  0.607 ± 0.007
    3 seeds, 2 minutes each on 1 CPU core
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.arcade import ArcadeSource
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.inpainting import Inpainting
from ssl_jax.models.alexnet import CONVS, AlexNet
from ssl_jax.models.encoders import ContextEncoder
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine


def get_config(variant: str = ""):
    """The authors' inpainting run, or a variant's."""
    return choose(variant, inpainting, features, arcade, fashion, tiny)


def inpainting():
    train, _, test = presets.imagenet()
    epoch = 1_281_167 // 64
    return call(
        Experiment,
        source=train,
        method=call(Inpainting, vision=call(ContextEncoder)),
        optimizer=call(Optimizer, name="adam", learning_rate=2e-4, beta1=0.5),
        steps=500 * epoch,
        batch_size=64,
        evaluators={"pretext": call(Pretext, source=test, every=epoch)},
    )


def features():
    train, _, test = presets.imagenet()
    return call(
        Experiment,
        source=train,
        method=call(
            Inpainting,
            vision=call(AlexNet, normed=(), fc6=0, fc7=0),
            holes="region",
            size=227,
            stored=256,
            decoder=(256, 128, 64, 64, 32),
            critic=(),
            fill=(123.0, 117.0, 104.0),
        ),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, schedule=call(Cosine)),
        steps=100_000,
        batch_size=256,
        evaluators={
            "pretext": call(Pretext, source=test, every=5000),
            "linear": call(Linear, train=train, test=test, read=call(Read, layers=CONVS)),
        },
    )


def arcade():
    # One episode per game gives all of its clips: playing costs as much as training.
    data = {"games": presets.TEN_GAMES, "seconds": 0.4, "frame_skip": 6}
    train = call(ArcadeSource, clips_per_game=48, clips_per_play=48, **data)
    test = call(ArcadeSource, clips_per_game=16, clips_per_play=16, split="test", **data)
    return call(
        Experiment,
        source=train,
        method=call(
            Inpainting,
            vision=call(ContextEncoder, channels=(64, 64, 128, 256), code=1000, width=0.25),
            size=64,
            stored=64,
            overlap=2,
            decoder=(64, 48, 32),
            critic=(16, 32, 64),
            fill=(64.0, 64.0, 64.0),
        ),
        optimizer=call(
            Optimizer, name="adam", learning_rate=2e-3, beta1=0.5, schedule=call(Cosine)
        ),
        steps=400,
        batch_size=32,
        # No probe: the pixels alone tell which game it is.
        evaluators={"pretext": call(Pretext, source=test, batch_size=32)},
    )


def fashion():
    train, probe, test = presets.fashion_mnist()
    return call(
        Experiment,
        source=train,
        method=call(
            Inpainting,
            vision=call(ContextEncoder, channels=(64, 128), code=256, width=0.5),
            holes="region",
            size=28,
            stored=28,
            decoder=(64, 32, 16),
            critic=(),
            fill=(73.0, 73.0, 73.0),
        ),
        optimizer=call(
            Optimizer,
            name="adam",
            learning_rate=2e-3,
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
    method = call(
        Inpainting,
        vision=call(ContextEncoder, channels=(64, 64, 128), code=256, width=0.125),
        size=32,
        stored=32,
        overlap=1,
        decoder=(16, 8),
        critic=(8, 16),
    )
    return presets.tiny(method, presets.synthetic(32))
