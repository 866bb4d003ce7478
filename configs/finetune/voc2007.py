"""Fine-tuning a rotation trunk on VOC 2007: which of 20 classes does an image show?

    python -m ssl_jax.train --config=finetune/voc2007.py --workdir=runs/voc2007 \
        --config.init_from=runs/rotation

runs/rotation is a run of image/rotation_imagenet.py; without init_from it trains from scratch.
Only the last layer: --config.optimizer.freeze="('vision',)" --config.method.still=True. The trunk
at a tenth of the last layer's rate: --config.optimizer.rates="(('vision', 0.1),)".

Data: TFDS `voc/2007`, prepared as array_record; trained on train and validation. Classes that are
only shown as difficult are negatives in training and do not count in the test.
Cost: 80,000 steps of 16 images, not measured.
Papers report the average precision at eleven recalls (`test/sigmoid/eleven`) or the area under the
curve (`test/sigmoid`).

Variant: `:tiny` is four steps on synthetic data, with one label each.

Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.synthetic import SHAPES
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
    train, _, test = presets.voc2007()
    return call(
        Experiment,
        source=train,
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
        evaluators={"test": call(SeveralClasses, test=test, clips=10)},
    )


def tiny():
    train, test = presets.synthetic(40)
    method = call(
        Finetune,
        task=call(SeveralLabels, classes=len(SHAPES)),
        vision=call(AlexNet, **ROTNET, conv1_stride=1, width=0.05, fc6=256, fc7=256),
        height=44,
        width=44,
        crop=40,
        area=(0.5, 1.0),
        crops=10,
        dropout=0.1,
    )
    evaluators = {"test": call(SeveralClasses, test=test, clips=10)}
    return presets.tiny(method, (train, test), evaluators=evaluators)
