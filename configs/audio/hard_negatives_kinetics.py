"""Hard negatives (AVTS) on Kinetics, MC3-18.

    python -m ssl_jax.train --config=audio/hard_negatives_kinetics.py --workdir=runs/avts

Data: the folder data/kinetics with manifest.csv (path, split).
Cost: not measured.
Paper: fine-tuned on UCF101 84.1 % (MC3-18) and 86.2 % (R(2+1)D-18), on HMDB51 52.5 and 52.3 %; a
linear SVM on ESC-50 82.3 %.

The batch, 32, is that of a reproduction by others; the paper's and its weight decay are not known.

Variants: `:r2plus1d` has the paper's other network for videos; `:arcade` trains narrow networks on
game video in minutes on a CPU, `:audited` with the audit for shortcuts; `:tiny` is four steps on
synthetic data.

    Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.evals.cross_modal_retrieval import CrossModalRetrieval
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.audio.hard_negatives import HardNegatives
from ssl_jax.models.audio import AudioNet
from ssl_jax.models.resnet3d import ResNet3D
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Plateau


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, kinetics, r2plus1d, arcade, audited, tiny)


def r2plus1d():
    return kinetics(vision=call(ResNet3D, split=True, stem_middle=45))


def kinetics(vision=None):
    data = {
        "path": "data/kinetics",
        "manifest": "manifest.csv",
        "kinds": ("video",),
        "need": ("frames", "audio"),
        "min_seconds": 2.5,
        "sample_rate": 48000,
    }
    train = call(FolderSource, split="train", **data)
    test = call(FolderSource, split="validate", **data)
    epoch = 230_000 // 32
    return call(
        Experiment,
        source=train,
        method=call(
            HardNegatives,
            vision=vision or call(ResNet3D, stages_3d=1),
            audio=call(AudioNet, first_stride=1),
            easy_steps=50 * epoch,
        ),
        optimizer=call(
            Optimizer, name="sgd", learning_rate=0.01, schedule=call(Plateau, window=epoch)
        ),
        steps=90 * epoch,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=32, every=10 * epoch),
            "retrieval": call(CrossModalRetrieval, test=test),
        },
    )


def arcade():
    data = {
        "seconds": 3.0,
        "frame_skip": 6,
        "height": 64,
        "width": 64,
        "min_loudness": 0.02,
    }
    train, test = presets.arcade(presets.SIX_GAMES, 128, 48, **data)
    steps = 360
    return call(
        Experiment,
        source=train,
        method=call(
            HardNegatives,
            vision=call(ResNet3D, layers=(1, 1, 1, 1), stages_3d=1, width=0.25),
            audio=call(AudioNet, width=0.25),
            frames=8,
            seconds=0.8,
            gap=0.4,
            short_side=64,
            crop=60,
            sample_rate=15360,
            fft=512,
            easy_steps=50 * steps // 90,
        ),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, schedule=call(Cosine)),
        steps=steps,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=32),
            "retrieval": call(CrossModalRetrieval, test=test, within_groups=True),
            "linear": call(
                Linear, train=train, test=test, read=call(Read, stream="audio"), labels_per_class=5
            ),
        },
    )


def audited():
    return presets.audited(arcade())


def tiny():
    sources = presets.synthetic(20, frames=32)
    method = call(
        HardNegatives,
        vision=call(ResNet3D, layers=(1, 1, 1, 1), stages_3d=1, width=0.0625),
        audio=call(AudioNet, width=0.0625),
        frames=4,
        seconds=0.5,
        gap=0.25,
        short_side=20,
        crop=16,
        sample_rate=8000,
        bands=16,
        fft=256,
        embedding=8,
        easy_steps=2,
    )
    more = {"retrieval": call(CrossModalRetrieval, test=sources[1], ks=(1, 5))}
    return presets.tiny(method, sources, read=call(Read, stream="audio"), more=more)
