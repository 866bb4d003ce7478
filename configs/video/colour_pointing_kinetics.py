"""Tracking by colorizing on Kinetics: ResNet-18 at an eighth of the side and five 3-D convolutions.

    python -m ssl_jax.train --config=video/colour_pointing_kinetics.py --workdir=runs/pointing

Data: the folder data/kinetics with manifest.csv (path, split), labels are not used; DAVIS 2017 in
data/davis and JHMDB in data/jhmdb for the evaluation.
Cost: 400,000 steps, not measured. A step holds 4 x 1024 x 3072 bytes of similarities per clip.
Paper: DAVIS 2017 val, J 34.6 and F 32.7 (first mask kept: 22.1 and 23.6); JHMDB PCK@0.1 45.2
(first joints kept: 43.1).
Ours, in the paper's setting: not measured.

'masks' and 'joints' propagate as the paper does: by the attention of training at temperature 0.5,
from the three frames before (and, as in later protocols, the first). Videos pass the trunk whole,
so frames are made smaller than in later protocols.

Variants: `:restricted` is CorrFlow's (Lai and Xie 2019): colour input with dropped channels, maps
of a quarter of the side, attention to 6 cells around; `:synthetic` trains a narrow network on
videos of one moving shape in minutes on a CPU; `:tiny` is four steps on synthetic data.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.davis import DavisSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.jhmdb import JhmdbSource
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.propagation import JointPropagation, MaskPropagation
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.colour_pointing import ColourPointing
from ssl_jax.models.pointing import PointingTrunk
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step

# The attention of training: all places, by scalar products; more than all would be too many.
AS_TRAINED = {"radius": 1000, "top": 10**6, "temperature": 0.5, "cosine": False}


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, whole, restricted, synthetic, tiny)


def whole():
    method = call(ColourPointing, vision=call(PointingTrunk))
    return kinetics(method, batch_size=32)


def restricted():
    trunk = call(PointingTrunk, strides=(1, 1, 1, 1), dilations=())
    method = call(ColourPointing, vision=trunk, cell=4, channels="lab", radius=6)
    return kinetics(method, batch_size=8, radius=6)


def kinetics(method, batch_size: int, radius: int = AS_TRAINED["radius"]):
    """Either network, trained as the paper says."""
    as_trained = {**AS_TRAINED, "radius": radius}
    train, test = (
        call(
            FolderSource,
            path="data/kinetics",
            manifest="manifest.csv",
            kinds=("video",),
            split=split,
            min_seconds=1.0,
        )
        for split in ("train", "validate")
    )
    layers = {"layers": ("stage4", "embedding")}
    return call(
        Experiment,
        source=train,
        method=method,
        optimizer=call(
            Optimizer, name="adam", learning_rate=1e-3, schedule=call(Step, boundaries=(60_000,))
        ),
        steps=400_000,
        batch_size=batch_size,
        eval_batch_size=batch_size,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=batch_size, every=10_000),
            "masks": call(
                MaskPropagation,
                source=call(DavisSource, path="data/davis"),
                short_side=256,
                context=3,
                **layers,
                **as_trained,
            ),
            "joints": call(
                JointPropagation,
                source=call(JhmdbSource, path="data/jhmdb"),
                size=256,
                context=3,
                **layers,
                **as_trained,
            ),
        },
    )


def synthetic():
    size = {"frames": 16, "height": 64, "width": 64, "fps": 12.0}
    train = call(SyntheticSource, size=2048, **size)
    test = call(SyntheticSource, size=64, seed=1, **size)
    trunk = call(
        PointingTrunk, depth=10, strides=(1, 1, 1, 1), dilations=(), width=0.125, embedding=32
    )
    near = {"layers": ("stage4", "embedding"), "radius": 6, "context": 3, "videos": 16}
    return call(
        Experiment,
        source=train,
        method=call(ColourPointing, vision=trunk, size=64, cell=4),
        optimizer=call(Optimizer, name="adam", learning_rate=2e-3, schedule=call(Cosine)),
        steps=200,
        batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=32),
            "masks": call(MaskPropagation, source=test, short_side=64, **near),
            "masks_as_trained": call(
                MaskPropagation,
                source=test,
                short_side=64,
                layers=("embedding",),
                context=3,
                videos=16,
                **AS_TRAINED,
            ),
            "joints": call(JointPropagation, source=test, size=64, **near),
        },
    )


def tiny():
    trunk = call(PointingTrunk, depth=10, dilations=(1, 2), width=0.0625, channels=64, embedding=8)
    train, test = presets.synthetic(32, frames=16)
    one = {"source": test, "layers": ("embedding",), "context": 1, "radius": 2, "videos": 1}
    return presets.tiny(
        call(ColourPointing, vision=trunk, size=32, colours=4, colour_records=4),
        (train, test),
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8),
            "masks": call(MaskPropagation, short_side=32, cosine=False, **one),
        },
    )
