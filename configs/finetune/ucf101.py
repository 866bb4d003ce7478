"""Fine-tuning on UCF101 from the lists it comes with: which of 101 actions?

    python -m ssl_jax.train --config=finetune/ucf101.py --workdir=runs/ucf101 \
        --config.init_from=runs/clip_order

runs/clip_order is a run of video/clip_order_ucf101.py; without init_from it trains from scratch.
Report the three folds and their mean: the others by --config.source.fold=2 and
--config.evaluators.test.test.fold=2. HMDB51: finetune/hmdb51.py, with the same variants.

Data: the videos in data/ucf101/UCF-101 and the lists beside them in data/ucf101/ucfTrainTestlist,
both as distributed.
Cost: 150 epochs of clips, 200 of frames, not measured. Flow that `prepare --flow` did not store is
computed while training, about 0.2 s of one CPU core a video.
Paper (clip order, R(2+1)D): UCF101 72.4 %, HMDB51 30.9 %, means over folds. Those of the variants
are in docs/action_recognition.md.
Differs from the paper: it holds out 800 training videos, some of the same people as others that it
trains on, and keeps the best epoch; here all videos train and the last step counts.

Variants, each for the trunk of a config in video/ (but for the last two):

  clips of 16 frames, ten of a test video
    `:c3d`, `:r3d`            clip_order_ucf101.py of the same variants
    `:space_time_puzzle`      space_time_puzzle_ucf101.py
    `:motion_statistics`      motion_statistics_ucf101.py
    `:speediness`             speediness_ucf101.py (64 frames of 224 pixels)
    `:dense_prediction`       dense_prediction_ucf101.py (40 frames of 128 pixels), without its
                              ConvGRU, which the paper fine-tunes too
    `:generation`             generation_flickr.py (32 frames of 64 pixels, 1,000 steps)
    `:masked_features`        masked_features_kinetics.py (30 frames of 224 pixels)
    `:mc3`, `:r2plus1d18`     the 18-layer trunks of AVTS and XDC

  single frames, ten crops of each of 25 of a test video
    `:frames`, `:frames_vgg`  cross_and_learn_ucf101.py and its `:vgg` (58.7 %, 70.5 %; the paper's
                              colour jitter shifts hues further)
    `:shuffle_and_learn`, `:order_prediction`, `:pose_from_action`, `:patch_tracking`

  motion, likewise
    `:differences`            cross_and_learn_ucf101.py
    `:odd_one_out`            --config.init_from="{'difference': 'runs/odd:vision'}"
    `:flow`, `:flow_vgg`      cross_and_learn_ucf101.py:flow, :vgg
    `:arrow_of_time`          --config.init_from="{'flow': 'runs/arrow:vision'}"

Two-stream networks are two such runs, whose answers are averaged (Simonyan and Zisserman 2014):

    python -m ssl_jax.fuse runs/frames runs/flow

Schedules are those of clip order and of Cross and Learn, but for DPC's; those of the others were
not known. `:tiny` is four steps on synthetic data.

Ours: not measured.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

from ssl_jax import presets
from ssl_jax.config import call, choose, load
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.synthetic import SHAPES
from ssl_jax.evals.finetuned import Classification
from ssl_jax.experiment import Experiment
from ssl_jax.methods.finetune import Finetune
from ssl_jax.methods.label_tasks import OneLabel
from ssl_jax.models.resnet3d import ResNet3D
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Step


class Actions(NamedTuple):
    """Videos of actions, with the lists that they are distributed with."""

    path: str
    lists: str  # a path from there
    classes: int
    videos: int  # that train, of a fold


UCF101 = Actions("data/ucf101/UCF-101", "../ucfTrainTestlist", classes=101, videos=9537)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
BYTES = (1 / 255,) * 3  # as `std`: pixels in 0..255
MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)


def get_config(variant: str = ""):
    """Fold 1 with clips for the trunk of clip order, or a variant."""
    return finetuned(UCF101, variant, tiny)


def finetuned(data: Actions, variant: str, tiny: Callable):
    """A variant on a data set."""
    of_clips = clip_order, c3d, r3d, space_time_puzzle, motion_statistics, speediness
    of_clips += dense_prediction, generation, masked_features, mc3, r2plus1d18
    of_frames = frames, frames_vgg, shuffle_and_learn, order_prediction, pose_from_action
    of_frames += (patch_tracking,)
    of_motion = differences, odd_one_out, flow, flow_vgg, arrow_of_time
    recipes = [
        functools.update_wrapper(functools.partial(recipe, data), recipe)
        for recipe in (*of_clips, *of_frames, *of_motion)
    ]
    return choose(variant, *recipes, tiny)


def trunk_of(config: str, name: str = "vision", **changes):
    """The trunk of a config in video/, so that both are the same."""
    trunk = load(f"video/{config}").method[name]
    trunk.update(changes)
    return trunk


# Clips --------------------------------------------------------------------------------------------


def clip_order(data: Actions):
    return clips(data, trunk_of("clip_order_ucf101.py"), flip=0.0)


def c3d(data: Actions):
    return clips(data, trunk_of("clip_order_ucf101.py:c3d"), flip=0.0)


def r3d(data: Actions):
    return clips(data, trunk_of("clip_order_ucf101.py:r3d"), flip=0.0)


def space_time_puzzle(data: Actions):
    return clips(data, trunk_of("space_time_puzzle_ucf101.py"))


def motion_statistics(data: Actions):
    grey = {"mean": (128 / 255,) * 3, "std": BYTES}
    return clips(data, trunk_of("motion_statistics_ucf101.py"), dropout=0.5, **grey)


def speediness(data: Actions):
    size = {"height": 256, "width": 340, "crop": 224}
    return clips(data, trunk_of("speediness_ucf101.py"), frames=64, **size)


def dense_prediction(data: Actions):
    # Of 240x320 pixels the pretext shows 224, resized to 128.
    size = {"height": 137, "width": 183, "crop": 128}
    knobs = {"frames": 40, "stride": 3, "dropout": 0.5, **size, **IMAGENET}
    config = clips(data, trunk_of("dense_prediction_ucf101.py"), **knobs)
    epoch = data.videos // 8
    config.optimizer = call(
        Optimizer,
        name="adam",
        learning_rate=1e-3,
        schedule=call(Step, boundaries=(60 * epoch, 80 * epoch, 100 * epoch)),
        weight_decay=1e-3,
    )
    config.steps = 120 * epoch
    return config


def generation(data: Actions):
    size = {"frames": 32, "height": 64, "width": 64, "fit": "cut", "crop": 64, "flip": 0.0}
    range_of_tanh = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    knobs = {"pool": "flat", "dropout": 0.5, **size, **range_of_tanh}
    config = clips(data, trunk_of("generation_flickr.py"), **knobs)
    config.optimizer = call(Optimizer, name="adam", learning_rate=2e-4)
    config.steps, config.batch_size = 1000, 256
    return config


def masked_features(data: Actions):
    size = {"frames": 30, "height": 256, "width": 340, "crop": 224}
    around_zero = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    return clips(data, trunk_of("masked_features_kinetics.py"), **size, **around_zero)


def mc3(data: Actions):
    return clips(data, call(ResNet3D, stages_3d=1))


def r2plus1d18(data: Actions):
    return clips(data, call(ResNet3D, split=True, stem_middle=45, bn_eps=1e-3))


def clips(data: Actions, trunk, **knobs):
    """The recipe of clip order."""
    size = {"frames": 16, "height": 128, "width": 171, "crop": 112}
    return on_videos(
        data,
        call(
            Optimizer,
            name="sgd",
            learning_rate=1e-3,
            weight_decay=5e-4,
        ),
        epochs=150,
        batch_size=8,
        inputs=10,
        vision=trunk,
        **{**size, **knobs},
    )


# Frames and motion --------------------------------------------------------------------------------


def frames(data: Actions):
    return streams(data, vision=convolutions("", "vision"), jitter=0.375, **IMAGENET, **NEW_FCS)


def frames_vgg(data: Actions):
    trunk = convolutions(":vgg", "vision")
    return streams(data, vision=trunk, jitter=0.375, **IMAGENET, **NEW_FCS)


def shuffle_and_learn(data: Actions):
    trunk = trunk_of("shuffle_and_learn_ucf101.py")
    return streams(data, vision=trunk, crop=227, mean=MEAN, std=BYTES)


def order_prediction(data: Actions):
    # What it saw were windows of 80 pixels, to which its fc6 fits.
    trunk = trunk_of("order_prediction_ucf101.py", fc6=0)
    return streams(data, vision=trunk, crop=227, mean=(96.5 / 255,) * 3, std=BYTES, **NEW_FCS)


def pose_from_action(data: Actions):
    trunk = trunk_of("pose_from_action_ucf101.py")
    return streams(data, vision=trunk, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def patch_tracking(data: Actions):
    trunk = trunk_of("patch_tracking_ucf101.py")
    return streams(data, vision=trunk, crop=227, mean=MEAN, std=BYTES, dropout=0.5)


def differences(data: Actions):
    trunk = convolutions("", "difference")
    return streams(data, difference=trunk, frames=5, candidates=15, reverse=0.5, **NEW_FCS)


def odd_one_out(data: Actions):
    trunk = trunk_of("odd_one_out_ucf101.py")
    return streams(data, difference=trunk, frames=6, crop=227, std=BYTES)


def flow(data: Actions):
    return streams(data, flow=convolutions(":flow", "flow"), **NEW_FCS, **TEN_FIELDS)


def flow_vgg(data: Actions):
    return streams(data, flow=convolutions(":vgg", "flow"), **NEW_FCS, **TEN_FIELDS)


def arrow_of_time(data: Actions):
    trunk = trunk_of("arrow_of_time_ucf101.py")
    return streams(data, flow=trunk, frames=11, centred=False, dropout=0.5)


NEW_FCS = {"layer": "pool5", "pool": "flat", "hidden": (4096, 4096), "dropout": 0.5}
TEN_FIELDS = {"frames": 11, "candidates": 25, "reverse": 0.5}


def convolutions(variant: str, name: str):
    """Of one of Cross and Learn's trunks."""
    return trunk_of(f"cross_and_learn_ucf101.py{variant}", name, fc6=0)


def streams(data: Actions, **knobs):
    """The recipe of Cross and Learn."""
    epoch = data.videos // 128
    return on_videos(
        data,
        call(
            Optimizer,
            name="sgd",
            learning_rate=0.01,
            schedule=call(Step, boundaries=(150 * epoch,)),
            weight_decay=5e-4,
        ),
        epochs=200,
        batch_size=128,
        inputs=250,
        **{"height": 256, "width": 340, "fit": "cut", "crops": 10, **knobs},
    )


# Both ---------------------------------------------------------------------------------------------


def on_videos(data: Actions, optimizer, epochs: int, batch_size: int, inputs: int, **knobs):
    """`inputs` of each test video are averaged; `knobs` are of `Finetune`."""
    where = {"path": data.path, "lists": data.lists, "kinds": ("video",)}
    train, test = (call(FolderSource, split=split, **where) for split in ("train", "test"))
    (stream,) = {"vision", "difference", "flow"} & set(knobs)
    return call(
        Experiment,
        source=train,
        method=call(Finetune, task=call(OneLabel, classes=data.classes), **knobs),
        optimizer=optimizer,
        steps=epochs * (data.videos // batch_size),
        batch_size=batch_size,
        evaluators={"test": call(Classification, test=test, stream=stream, clips=inputs)},
    )


def tiny():
    train, test = presets.synthetic(24, 32, frames=8)
    method = call(
        Finetune,
        task=call(OneLabel, classes=len(SHAPES)),
        vision=call(ResNet3D, layers=(1, 1, 1, 1), split=True, width=0.0625),
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
