"""Fine-tuning on UCF101 or HMDB51 from the lists they come with: which of 101 (51) actions?

    python -m ssl_jax.train --config=finetune/ucf101.py --workdir=runs/ucf101 \
        --config.init_from=runs/clip_order

runs/clip_order is a run of video/clip_order_ucf101.py; without init_from it trains from scratch.
Report the three folds and their mean.

Data: the videos in data/ucf101/UCF-101 and the lists beside them in data/ucf101/ucfTrainTestlist,
both as distributed.
Cost: 150 epochs, not measured.
Paper (clip order, R(2+1)D): UCF101 72.4 %, HMDB51 30.9 %, means over folds.
Differs from the paper: it holds out 800 training videos (HMDB51: 400), some of the same people as
others that it trains on, and keeps the best epoch; here all videos train and the last step counts.

Variants: `:split2`, `:split3` are the other folds; `:hmdb51` is fold 1 of HMDB51 (data/hmdb51/films
and data/hmdb51/lists; its other folds by --config.source.fold=2 and
--config.evaluators.test.test.fold=2). `:frames` and `:differences` are the two streams of Cross and
Learn, from the convolutions of a run of video/cross_and_learn_ucf101.py, tested on 25 frames of ten
crops each (paper, frames: 58.7 %; its colour jitter shifts hues further); then

    python -m ssl_jax.fuse runs/frames runs/differences

`:tiny` is four steps on synthetic data.

Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.synthetic import SHAPES
from ssl_jax.evals.finetuned import Classification
from ssl_jax.experiment import Experiment
from ssl_jax.methods.finetune import Finetune
from ssl_jax.methods.label_tasks import OneLabel
from ssl_jax.models.alexnet import CONVS, AlexNet
from ssl_jax.models.resnet3d import ResNet3D
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Step

ONE_BLOCK = (1, 1, 1, 1)


def get_config(variant: str = ""):
    """Fold 1 of UCF101 with clips, or a variant."""
    return choose(variant, split1, split2, split3, hmdb51, frames, differences, tiny)


def split1():
    return clips("ucf101", 1)


def split2():
    return clips("ucf101", 2)


def split3():
    return clips("ucf101", 3)


def hmdb51():
    return clips("hmdb51", 1)


def frames():
    return stream("frames")


def differences():
    return stream("differences")


def videos(name: str, fold: int):
    """Training and test source, the number of classes and of training videos."""
    data = {
        "ucf101": {"path": "data/ucf101/UCF-101", "lists": "../ucfTrainTestlist"},
        "hmdb51": {"path": "data/hmdb51/films", "lists": "../lists"},
    }[name]
    train, test = (
        call(FolderSource, split=split, fold=fold, kinds=("video",), **data)
        for split in ("train", "test")
    )
    classes, count = {"ucf101": (101, 9537), "hmdb51": (51, 3570)}[name]
    return train, test, classes, count


def clips(name: str, fold: int):
    train, test, classes, count = videos(name, fold)
    return call(
        Experiment,
        source=train,
        method=call(
            Finetune,
            task=call(OneLabel, classes=classes),
            vision=call(ResNet3D, layers=ONE_BLOCK, split=True, split_shortcut=True),
            frames=16,
            height=128,
            width=171,
            crop=112,
            flip=0.0,
        ),
        optimizer=call(Optimizer, name="sgd", learning_rate=1e-3, weight_decay=5e-4),
        steps=150 * (count // 8),
        batch_size=8,
        evaluators={"test": call(Classification, test=test, clips=10)},
    )


def stream(variant: str):
    """One of two streams: CaffeNet's convolutions with new dense layers."""
    train, test, classes, count = videos("ucf101", 1)
    trunk = call(
        AlexNet,
        normed=CONVS,
        bn_after_relu=True,
        conv1_padding=2,
        ceil_pooling=False,
        fc6=0,
        fc7=0,
    )
    knobs = {
        "fit": "cut",
        "crops": 10,
        "layer": "pool5",
        "pool": "flat",
        "hidden": (4096, 4096),
        "dropout": 0.5,
        "task": call(OneLabel, classes=classes),
    }
    if variant == "frames":
        scale = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        method = call(Finetune, vision=trunk, jitter=0.375, **scale, **knobs)
    else:
        method = call(Finetune, difference=trunk, frames=5, **knobs)
    stream = "vision" if variant == "frames" else "difference"
    epoch = count // 128
    return call(
        Experiment,
        source=train,
        method=method,
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.01,
            schedule=call(Step, boundaries=(150 * epoch,)),
            weight_decay=5e-4,
        ),
        steps=200 * epoch,
        batch_size=128,
        evaluators={"test": call(Classification, test=test, stream=stream, clips=250)},
    )


def tiny():
    train, test = presets.synthetic(24, 32, frames=8)
    method = call(
        Finetune,
        task=call(OneLabel, classes=len(SHAPES)),
        vision=call(ResNet3D, layers=ONE_BLOCK, split=True, width=0.0625),
        frames=4,
        height=18,
        width=24,
        crop=16,
        hidden=(8,),
        dropout=0.1,
    )
    return presets.tiny(
        method,
        (train, test),
        optimizer=call(Optimizer, name="sgd", learning_rate=0.01, rates=(("vision", 0.1),)),
        evaluators={"test": call(Classification, test=test, clips=3)},
    )
