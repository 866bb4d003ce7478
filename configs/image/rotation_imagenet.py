"""Rotation (RotNet) on ImageNet: AlexNet with BatchNorm everywhere, 50 epochs as the authors train.

    python -m ssl_jax.train --config=image/rotation_imagenet.py --workdir=runs/rotation

Data: TFDS `imagenet2012`, prepared as array_record; without labels in training.
Cost: 50 epochs of four rotations of every image, not measured.
Paper (30 epochs): linear probe of conv1 to conv5 18.8, 31.7, 38.7, 38.2, 36.5 %, trained on all
labels; here a twentieth of the training set is probed.

Variant: `:tiny` is four steps on synthetic data.

Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.keypoints import Keypoints
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.rotation import Rotation
from ssl_jax.models.alexnet import CONVS, AlexNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Step

# The authors' AlexNet: no groups, no local response normalisation, BatchNorm after every layer.
ROTNET = {
    "channels": (64, 192, 384, 256, 256),
    "groups": 1,
    "conv1_padding": 2,
    "ceil_pooling": False,
    "fc_bias": False,
    "dropout": 0.0,
    "weight_init": "he",
}


def get_config(variant: str = ""):
    """The authors' run, or a variant's."""
    return choose(variant, imagenet, tiny)


def imagenet():
    train, probe, test = presets.imagenet()
    rows = 192
    epoch = 1_281_167 // rows
    return call(
        Experiment,
        source=train,
        method=call(
            Rotation,
            vision=call(AlexNet, **ROTNET),
            size=224,
            stored=256,
            area=(0.08, 1.0),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.01,
            schedule=call(Step, boundaries=(15 * epoch, 30 * epoch, 45 * epoch), decay=0.1),
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
        ),
        steps=50 * epoch,
        batch_size=rows,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=rows, every=epoch),
            "linear": call(Linear, train=probe, test=test, read=call(Read, layers=CONVS)),
        },
    )


def tiny():
    train, test = presets.synthetic(40)
    narrow = call(AlexNet, **ROTNET, conv1_stride=1, width=0.05, fc6=256, fc7=256)
    read = call(Read, layers=("conv1", "conv5"))
    joints = call(Keypoints, train=train, test=test, read=read, scale="body", l2=(16.0, 256.0))
    return presets.tiny(
        call(Rotation, vision=narrow, size=32, stored=40, area=(0.5, 1.0)),
        (train, test),
        read=read,
        more={"joints": joints},
    )
