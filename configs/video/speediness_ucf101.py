"""SpeedNet on UCF101, split 1, with S3D-G without strides in time.

    python -m ssl_jax.train --config=video/speediness_ucf101.py --workdir=runs/speed

Data: the folder data/ucf101 with manifest.csv (path, label, split).
Cost: 30,000 steps, not measured. A batch of 32 x 2 clips of 64 frames of 336 pixels is 1.4 GB of
bytes and 5.5 GB of floats; a step takes it in eight parts, so BatchNorm sees 8 clips.
Paper: trained on Kinetics-400, 75.6 % test accuracy; fine-tuned on UCF101 81.1 %. Its
batch, sampling and sizes are here, steps and optimizer are ours: they are not known.

Variants: `:short` takes 16 frames; `:arcade` trains a narrow S3D-G on game video in minutes on a
CPU; `:audited` is the same with the audit for shortcuts; `:tiny` is four steps on synthetic data.

    Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.cues.camera import CameraMotion
from ssl_jax.cues.compression import JpegGrid
from ssl_jax.cues.frame_timing import Duplicates
from ssl_jax.cues.overlays import Counters
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.speediness import Speediness
from ssl_jax.models.resnet3d import ResNet3D
from ssl_jax.models.s3d import S3D
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, ucf101, short, arcade, audited, tiny)


def trunk(**changes):
    """The paper's S3D-G: as many frames come out as go in."""
    return call(S3D, **{"gated": True, "time_strides": False, **changes})


def ucf101():
    return paper(64)


def short():
    return paper(16)


def paper(frames):
    train = presets.ucf101("train", min_frames=3 * frames)
    test = presets.ucf101("test", min_frames=3 * frames)
    read = call(Read, layers=("pool",), clips=10)
    retrieval = {"train": presets.ucf101("train"), "test": presets.ucf101("test"), "read": read}
    return call(
        Experiment,
        source=train,
        method=call(Speediness, vision=trunk(), frames=frames),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.05,
            schedule=call(Cosine, warmup=500),
            weight_decay=1e-4,
        ),
        steps=30_000,
        batch_size=32,
        micro_batches=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8, every=5000),
            "retrieval": call(ClassRetrieval, **retrieval),
        },
    )


def arcade():
    """One game in which bullets and ships move freely.

    Of its 60 frames per second 30 are kept and every second of these is taken: sprites that blink
    every other frame would tell the speed.
    """
    size = {"seconds": 2.0, "height": 64, "width": 64, "frame_skip": 2, "hide_counters": True}
    train, test = presets.arcade(("phoenix",), 512, 192, label="reward", **size)
    return call(
        Experiment,
        source=train,
        method=call(
            Speediness,
            vision=trunk(width=0.125),
            frames=8,
            stride=2,
            sizes=(48, 64),
            test_size=64,
        ),
        optimizer=call(Optimizer, name="adam", learning_rate=2e-3, schedule=call(Cosine)),
        steps=400,
        batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=16),
            "linear": call(Linear, train=train, test=test),
        },
    )


def audited():
    cues = (call(Counters), call(CameraMotion), call(JpegGrid), call(Duplicates))
    return presets.audited(arcade(), cues=cues)


def tiny():
    method = call(
        Speediness,
        vision=call(ResNet3D, layers=(1, 1, 1, 1), width=0.0625),
        frames=4,
        sizes=(12, 16),
        test_size=16,
    )
    return presets.tiny(method, presets.synthetic(18, frames=16))
