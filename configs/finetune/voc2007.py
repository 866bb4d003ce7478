"""Fine-tuning a rotation trunk on VOC 2007: which of 20 classes does a picture show?

    python -m ssl_jax.train --config=configs/finetune/voc2007.py --workdir=runs/voc2007

Without --config.init_from=runs/rotation, a run of configs/image/rotation_imagenet.py, it trains
from scratch. Data: TFDS `voc/2007`, prepared as array_record; trained on train and validation.
Cost: 80,000 steps of 16 pictures, not measured. Classes that are shown only badly are negatives in
training and do not count in the test. Papers report the average precision at eleven recalls
(`test/sigmoid/eleven`) or the area (`test/sigmoid`). Ours: not measured.

Only the last layer: --config.optimizer.freeze="('vision',)" --config.method.still=True. The trunk
at a tenth of the last layer's rate: --config.optimizer.rates="(('vision', 0.1),)".

Variant: `:tiny` is four steps on synthetic data, of one label each.
"""

from ssl_jax.config import call, choose
from ssl_jax.data.sources.synthetic import SHAPES, SyntheticSource
from ssl_jax.data.sources.tfds import TfdsSource
from ssl_jax.evals.finetuned import SeveralClasses
from ssl_jax.experiment import Experiment
from ssl_jax.methods.finetune import Finetune
from ssl_jax.methods.label_tasks import SeveralLabels
from ssl_jax.models.alexnet import AlexNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Step

# The trunk of configs/image/rotation_imagenet.py.
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
    """All of VOC 2007, or a variant."""
    return choose(variant, voc2007, tiny)


def voc2007():
    return call(
        Experiment,
        source=call(TfdsSource, name="voc/2007", split="train+validation"),
        method=call(
            Finetune,
            task=call(SeveralLabels, classes=20),
            vision=call(AlexNet, **ROTNET),
            area=(0.1, 1.0),
            crops=10,
            dropout=0.5,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
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
        evaluators={
            "test": call(
                SeveralClasses, test=call(TfdsSource, name="voc/2007", split="test"), clips=10
            )
        },
    )


def tiny():
    train = call(SyntheticSource, size=24, frames=1, height=40, width=40)
    test = call(SyntheticSource, size=24, frames=1, height=40, width=40, seed=1)
    narrow = call(AlexNet, **ROTNET, conv1_stride=1, width=0.05, fc6=256, fc7=256)
    return call(
        Experiment,
        source=train,
        method=call(
            Finetune,
            task=call(SeveralLabels, classes=len(SHAPES)),
            vision=narrow,
            height=44,
            width=44,
            crop=40,
            area=(0.5, 1.0),
            crops=10,
            dropout=0.1,
        ),
        optimizer=call(Optimizer, name="sgd", learning_rate=0.01),
        steps=4,
        batch_size=8,
        eval_batch_size=8,
        evaluators={"test": call(SeveralClasses, test=test, clips=10)},
    )
