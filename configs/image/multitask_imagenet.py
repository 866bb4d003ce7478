"""Relative position, colorization and exemplars together on ImageNet, on a ResNet-101 v2.

    python -m ssl_jax.train --config=image/multitask_imagenet.py --workdir=runs/multitask

Three of the paper's four tasks (motion segmentation needs video), with inputs harmonised: relative
position and colorization see lightness, exemplars colours. The trunk ends after its third stage, of
whose 23 units each task selects by lasso.

Data: TFDS `imagenet2012`, prepared as array_record; without labels in training.
Cost: the paper's took 64 GPUs for a week and more; ours not measured.
Paper: these three tasks, without lasso and harmonisation, 68.65 % top-5 by a linear probe on all
labels; here a twentieth of the training set is probed. The heads, learning rates and the strength
of the lasso are ours: the paper's are not all known.

Variant: `:tiny` is four steps on synthetic data.

Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.gradient_norms import GradientNorms
from ssl_jax.evals.lasso_units import LassoUnits
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.colorization import Colorization
from ssl_jax.methods.image.relative_position import RelativePosition
from ssl_jax.methods.image.triplet_exemplar import TripletExemplar
from ssl_jax.methods.lightness import Lightness
from ssl_jax.methods.multitask import Multitask
from ssl_jax.models.lasso import Lasso
from ssl_jax.models.resnet_v2 import ResNetV2
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine

LOSSES = ("exemplar/loss", "relative_position/loss", "colorization/loss")


def get_config(variant: str = ""):
    """The full-size run, or a variant's."""
    return choose(variant, imagenet, tiny)


def trunk(units: tuple[int, ...], width: float = 1.0):
    """A ResNet with these units per stage; each task selects among those of the last stage."""
    return call(
        Lasso,
        trunk=call(ResNetV2, units=units, final_norm=False, width=width, remat=width == 1.0),
        units=tuple(f"unit{number}" for number in range(1, units[-1] + 1)),
    )


def together(exemplar, relative_position, colorization):
    """Features are read in lightness: a config sorts names, and colorization comes first."""
    return call(
        Multitask,
        tasks={
            "exemplar": exemplar,
            "relative_position": call(Lightness, method=relative_position),
            "colorization": call(Lightness, method=colorization),
        },
    )


def imagenet():
    train, probe, test = presets.imagenet()
    resnet = trunk((3, 4, 23))
    patches = call(
        RelativePosition,
        vision=resnet,
        colour="keep",  # lightness takes its place
        pixelation=0.0,
        embedding=1024,
        hidden=(1024,),
        normed=("fc6", "fc7"),
    )
    return call(
        Experiment,
        source=train,
        method=together(
            exemplar=call(TripletExemplar, vision=resnet, crops=2, embedding=1024),
            relative_position=patches,
            colorization=call(Colorization, vision=resnet),
        ),
        optimizer=call(
            Optimizer,
            name="adam",
            learning_rate=1e-3,
            schedule=call(Cosine, warmup=5000),
            l1=0.01,
            l1_on=("unit_weights",),
        ),
        steps=500_000,
        batch_size=256,
        dtype="bfloat16",
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=256, every=10_000),
            "gradients": call(GradientNorms, source=test, metrics=LOSSES, every=50_000),
            "units": call(LassoUnits, every=10_000),
            "linear": call(
                Linear,
                train=probe,
                test=test,
                read=call(
                    Read,
                    layers=("unit5", "unit11", "unit17", "unit23", "exemplar_units"),
                    pool="avg",
                ),
            ),
        },
    )


def tiny():
    narrow = trunk((1, 2), width=0.0625)
    patches = call(
        RelativePosition,
        vision=narrow,
        patch=9,
        gap=4,
        jitter=1,
        area=(1000, 1600),
        colour="keep",
        pixelation=0.0,
        whole=32,
        embedding=16,
        hidden=(16,),
        normed=("fc6", "fc7"),
    )
    method = together(
        exemplar=call(TripletExemplar, vision=narrow, size=32, stored=36, crops=2, embedding=8),
        relative_position=patches,
        colorization=call(Colorization, vision=narrow, size=32, stored=36),
    )
    train, test = presets.synthetic(36)
    return presets.tiny(
        method,
        (train, test),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, l1=0.1, l1_on=("unit_weights",)),
        read=call(Read, layers=("stage1", "unit2", "colorization_units")),
        more={
            "gradients": call(GradientNorms, source=test, metrics=LOSSES, batch_size=8),
            "units": call(LassoUnits),
        },
    )
