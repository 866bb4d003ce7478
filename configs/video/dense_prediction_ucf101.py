"""Dense Predictive Coding on UCF101, split 1, with the 2D3D-ResNet of 18 layers.

    python -m ssl_jax.train --config=video/dense_prediction_ucf101.py --workdir=runs/dense

Data: the folder data/ucf101 with manifest.csv (path, label, split).
Cost: 22,000 steps of 64 videos, not measured; the paper's on Kinetics-400 took more than a week on
four P40, that of 34 layers about six.
Paper: fine-tuned on UCF101 60.6 %; trained on Kinetics-400 68.2 %, and 75.7 % with 34 layers and
224 pixels.

Variants: `:r34` has 34 layers and sees 224 pixels; `:arcade` trains a narrow network on game video
in minutes on a CPU; `:audited` is the same with the audit for shortcuts; `:tiny` is four steps on
synthetic data.

    Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.cues.camera import CameraMotion
from ssl_jax.cues.colours import ColourHistogram
from ssl_jax.cues.overlays import Counters
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.dense_prediction import DensePrediction
from ssl_jax.models.resnet2d3d import ResNet2D3D
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, ucf101, r34, arcade, audited, tiny)


def ucf101():
    return paper(call(DensePrediction, vision=call(ResNet2D3D)), batch_size=64, epochs=150)


def r34():
    trunk = call(ResNet2D3D, layers=(3, 4, 6, 3))
    return paper(call(DensePrediction, vision=trunk, size=224), batch_size=44, epochs=150)


def paper(method, batch_size, epochs):
    # Eight blocks of 5 frames, every third of the video's, span 118.
    train, test = presets.ucf101("train", min_frames=118), presets.ucf101("test")
    long_enough = presets.ucf101("test", min_frames=118)
    context = call(Read, stream="context", clips=4)
    return call(
        Experiment,
        source=train,
        method=method,
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, weight_decay=1e-5),
        steps=epochs * 9537 // batch_size,
        batch_size=batch_size,
        evaluators={
            "pretext": call(Pretext, source=long_enough, batch_size=batch_size, every=5000),
            "retrieval": call(ClassRetrieval, train=train, test=test, read=context),
        },
    )


def arcade():
    """One game, of which every video has the same background: only what moves is to be predicted.

    Rendered frames have no lens and colours that tell things apart, so frames are not split into
    channels, and their colours are jittered a little.
    """
    size = {"seconds": 2.5, "height": 64, "width": 64, "hide_counters": True}
    train, test = presets.arcade(("space_invaders",), 512, 192, label="reward", **size)
    read = {"train": train, "test": test}
    return call(
        Experiment,
        source=train,
        method=call(
            DensePrediction,
            vision=call(ResNet2D3D, layers=(1, 1, 1, 1), width=0.25),
            past=3,
            frames=3,
            stride=2,
            height=64,
            width=64,
            crop=64,
            size=64,
            splitting=0.0,
            jitter=(0.2, 0.2, 0.2, 0.05),
        ),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, schedule=call(Cosine)),
        steps=400,
        batch_size=16,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=16),
            "linear": call(Linear, **read),
            "context": call(Linear, **read, read=call(Read, stream="context")),
        },
    )


def audited():
    cues = (call(Counters), call(CameraMotion), call(ColourHistogram))
    return presets.audited(arcade(), cues=cues, metric="time_accuracy")


def tiny():
    method = call(
        DensePrediction,
        vision=call(ResNet2D3D, layers=(1, 1, 1, 1), width=0.0625),
        past=2,
        predicted=2,
        frames=2,
        stride=1,
        height=40,
        width=40,
        crop=36,
        size=36,
        negatives="local",
        local_videos=4,
    )
    sources = presets.synthetic(40, frames=16)
    train, test = sources
    context = call(Linear, train=train, test=test, read=call(Read, stream="context"))
    return presets.tiny(method, sources, more={"context": context})
