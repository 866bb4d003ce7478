"""Localization of sounds (AVOL-Net) on the instruments of AudioSet.

    python -m ssl_jax.train --config=audio/localization_audioset.py --workdir=runs/avol

Data: the folder data/audioset_instruments with manifest.csv (path, split).
Cost: not measured.
Paper: shows maps, without a number; it corresponds as well as AVE-Net (81.9 %).

Variants: `:synthetic` trains narrow networks on videos of one sounding shape in minutes on a CPU;
`:arcade` on game video; `:tiny` is four steps on synthetic data.

    :synthetic          match           highest place     mean cIoU of
                        (chance 0.5)    lies on shape     128 videos
    ours                0.823           0.922             0.148
    random init         0.500           0.078             0.009
    always the middle   –               0.094             0.121
    1 seed, 4 minutes on a share of 1 CPU core; control, `:arcade` and ours in the paper's setting:
    not measured

A third of the other audios has the same pitch, so by pitch alone 0.833 can be matched. cIoU takes
half of a map for its answer, so of shapes as small as these a right map has no more than about
0.18.

Both small variants compare all of a batch and learn from all places (`criterion`, `pool`). By the
paper's loss, 32 videos a step and logits that started large, `:synthetic` matched 0.559 with a mean
cIoU of 0.000: what stood out was pushed down in the first steps, whatever was heard, and never was
the best place again. With small logits and all of the batch 0.85 were matched by the rims of
shapes (1 seed each, 300 steps). Where the pitch is the shape's, not the colour's, crosses are not
learnt in 300 steps, and the mean cIoU is 0.110.
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
    """The tone's pitch tells the colour, its loudness the height; the background is silent."""
    size = {"frames": 32, "height": 64, "width": 64, "pitch": "colour"}
    train = call(SyntheticSource, size=1024, **size)
    test = call(SyntheticSource, size=128, seed=1, **size)
    sound = {"sample_rate": 8000, "window": 256, "hop": 128, "bins": 256, "seconds": 0.5}
    return small((train, test), steps=200, **sound)


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
            # A map whose places see no more than a thing of 25 pixels.
            layer="conv2_2",
            criterion="batch",
            pool="soft",
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
