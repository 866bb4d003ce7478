"""Fine-tuning on FLIC: where are a person's joints? Coordinates by regression, as in DeepPose.

    python -m ssl_jax.train --config=finetune/flic.py --workdir=runs/flic \
        --config.init_from=runs/opn

runs/opn is a run of video/order_prediction_ucf101.py; without init_from it trains from scratch.

Data: TFDS `flic`, prepared as array_record.
Cost: 40,000 steps of 64 images, not measured. The schedule is ours.
Differs from the papers: they crop the person first; here the network sees whole images, stretched
to a square.

Variant: `:tiny` is four steps on synthetic data.

Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.tfds import TfdsSource
from ssl_jax.evals.finetuned import Pose
from ssl_jax.experiment import Experiment
from ssl_jax.methods.finetune import Finetune
from ssl_jax.methods.label_tasks import Joints
from ssl_jax.models.alexnet import NORMED_DEEP, AlexNet
from ssl_jax.models.nin import NIN
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine


def get_config(variant: str = ""):
    """All of FLIC, or a variant."""
    return choose(variant, flic, tiny)


def flic():
    trunk = call(AlexNet, lrn=True, normed=NORMED_DEEP, weight_init="caffe", fc6=0, fc7=0)
    # Order prediction sees pixels of 0..255 less one grey value.
    grey, unit = (96.5 / 255,) * 3, (1 / 255,) * 3
    return call(
        Experiment,
        source=call(TfdsSource, name="flic", split="train"),
        method=call(
            Finetune,
            task=call(Joints, joints=29),
            vision=trunk,
            height=227,
            width=227,
            crop=227,
            flip=0.0,
            mean=grey,
            std=unit,
            layer="pool5",
            pool="flat",
            hidden=(4096, 4096),
            dropout=0.5,
        ),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=1e-3,
            schedule=call(Cosine, warmup=1000),
            weight_decay=5e-4,
            clip_norm=1.0,
        ),
        steps=40_000,
        batch_size=64,
        evaluators={
            # The torso is the distance from the left shoulder to the right hip.
            "test": call(
                Pose,
                test=call(TfdsSource, name="flic", split="test"),
                scale="torso",
                torso=(0, 9),
            )
        },
    )


def tiny():
    train, test = presets.synthetic(24, 32)
    method = call(
        Finetune,
        task=call(Joints, joints=2),
        vision=call(NIN, blocks=3, width=0.05),
        height=16,
        width=16,
        crop=16,
        flip=0.0,
        pool="flat",
        layer="block3",
    )
    evaluators = {"test": call(Pose, test=test, scale="torso", torso=(0, 1))}
    return presets.tiny(method, (train, test), evaluators=evaluators)
