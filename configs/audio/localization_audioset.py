"""Localization of sounds (AVOL-Net) on the instruments of AudioSet.

    python -m ssl_jax.train --config=audio/localization_audioset.py --workdir=runs/avol

Data: the folder data/audioset_instruments with manifest.csv (path, split).
Cost: not measured.
Paper: shows maps, without a number; it corresponds as well as AVE-Net (81.9 %).

Variants: `:synthetic` trains narrow networks on videos of one sounding shape in minutes on a CPU;
`:arcade` on game video; `:tiny` is four steps on synthetic data.

    :synthetic          match (chance 0.5)   mean cIoU of 128 videos
    ours                0.559                0.000
    random init         0.500                0.109
    shuffled control    0.504                –
    always the middle   –                    0.121
    1 seed, 2 minutes on 1 CPU core; `:arcade` and ours in the paper's setting: not measured

In 300 steps `:synthetic` hardly learns to match, and its maps answer beside the shape: it does not
localize yet. Half of a map answers and a shape is small, so that even a right map scores little.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.sound_places import SoundPlaces
from ssl_jax.experiment import Experiment
from ssl_jax.methods.audio.localization import Localization
from ssl_jax.models.audio import AudioNet
from ssl_jax.models.l3 import L3Net
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, audioset, synthetic, arcade, tiny)


def audioset():
    data = {
        "path": "data/audioset_instruments",
        "manifest": "manifest.csv",
        "kinds": ("video",),
        "need": ("frames", "audio"),
        "min_seconds": 1.5,
        "sample_rate": 48000,
    }
    train = call(FolderSource, split="train", **data)
    test = call(FolderSource, split="test", **data)
    epoch = 263_000 // 2048
    return call(
        Experiment,
        source=train,
        method=call(Localization, vision=call(L3Net), audio=call(AudioNet)),
        optimizer=call(
            Optimizer,
            name="adam",
            learning_rate=1e-4,
            schedule=call(
                Step, boundaries=tuple(range(16 * epoch, 160 * epoch, 16 * epoch)), decay=0.94
            ),
            weight_decay=1e-5,
        ),
        steps=160 * epoch,
        batch_size=2048,
        evaluators={
            "pretext": call(Pretext, source=test, every=10 * epoch),
            "places": call(SoundPlaces, source=test),
        },
    )


def synthetic():
    """The tone's pitch tells the shape, its loudness the height; the background is silent."""
    size = {"frames": 32, "height": 64, "width": 64}
    train = call(SyntheticSource, size=1024, **size)
    test = call(SyntheticSource, size=128, seed=1, **size)
    sound = {"sample_rate": 8000, "window": 256, "hop": 128, "bins": 256, "seconds": 0.5}
    return small((train, test), steps=300, **sound)


def arcade():
    data = {"seconds": 2.0, "height": 64, "width": 64, "min_loudness": 0.02}
    sources = presets.arcade(presets.SIX_GAMES, 256, 50, **data)
    sound = {"sample_rate": 15360, "window": 512, "hop": 256, "bins": 512}
    return small(sources, steps=400, **sound)


def small(sources, steps: int, **knobs):
    train, test = sources
    return call(
        Experiment,
        source=train,
        method=call(
            Localization,
            vision=call(L3Net, width=0.25),
            audio=call(AudioNet, width=0.25),
            layer="conv3_2",
            short_side=64,
            crop=64,
            **knobs,
        ),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, schedule=call(Cosine)),
        steps=steps,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=32),
            "places": call(SoundPlaces, source=test),
        },
    )


def tiny():
    sources = presets.synthetic(36, frames=32)
    method = call(
        Localization,
        vision=call(L3Net, width=0.0625),
        audio=call(AudioNet, width=0.0625),
        short_side=36,
        crop=32,
        seconds=0.5,
        sample_rate=8000,
        window=128,
        hop=64,
        bins=128,
        embedding=8,
    )
    more = {"places": call(SoundPlaces, source=sources[1], drawn=2)}
    return presets.tiny(method, sources, more=more)
