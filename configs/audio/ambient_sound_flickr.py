"""Ambient sound (AlexNet with BN, 30 clusters of sound textures) on the videos of Flickr.

    python -m ssl_jax.train --config=audio/ambient_sound_flickr.py --workdir=runs/ambient

Data: the folder data/flickr_videos with manifest.csv (path, split), and TFDS `places365_small`,
prepared as array_record.
Cost: not measured.
Paper: linear probe of Places (205 classes), conv1 to conv5: 19.9, 29.3, 32.1, 28.8, 29.8 %.

Variants: `:bits` predicts the signs of 30 principal components; `:shapes` trains a narrow network
on synthetic videos of shapes, each with a tone of its own, in minutes on a CPU; `:arcade` on game
video; `:tiny` is four steps on synthetic data.

    :shapes            puzzle, 8 clusters      linear probe, which shape, 5 labels each
                       (new videos)            conv2_2         conv3_2         pool
    ours               0.788                   0.377 ± 0.044   0.595 ± 0.048   0.803 ± 0.031
    random init        0.164                   0.289 ± 0.039   0.274 ± 0.026   0.255 ± 0.034
    raw pixels         –                       0.258 ± 0.043
    chance             –                       0.242
    1 seed (deviations over the draws of labels), 10 minutes on 1 busy CPU core, of which the
    textures take most; control, `:bits`, `:arcade` and ours in the paper's setting: not measured

The host makes textures: 3.75 s of audio take it a few tenths of a second of one core.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.sources.tfds import TfdsSource
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.audio.ambient_sound import AmbientSound
from ssl_jax.models.alexnet import CONVS, AlexNet
from ssl_jax.models.l3 import L3Net
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, flickr, bits, shapes, arcade, tiny)


def flickr(**knobs):
    data = {
        "path": "data/flickr_videos",
        "manifest": "manifest.csv",
        "kinds": ("video",),
        "need": ("frames", "audio"),
        "min_seconds": 4.0,
        "sample_rate": 20000,
    }
    train, test = (call(FolderSource, split=split, **data) for split in ("train", "test"))
    splits = ("train[:5%]", "validation")
    places = [call(TfdsSource, name="places365_small", split=split) for split in splits]
    return call(
        Experiment,
        source=train,
        method=call(AmbientSound, vision=call(AlexNet), **knobs),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.01,
            schedule=call(Step, boundaries=(100_000, 200_000, 300_000)),
        ),
        steps=320_000,
        batch_size=256,
        evaluators={
            "pretext": call(Pretext, source=test, every=20_000),
            "places": call(
                Linear,
                train=places[0],
                test=places[1],
                read=call(Read, layers=CONVS, pool="resize"),
            ),
        },
    )


def bits():
    return flickr(targets="bits")


def shapes():
    """The tone tells the shape; the network sees the shape alone."""
    train, test = (
        call(SyntheticSource, size=size, frames=16, height=36, width=36, seed=seed)
        for size, seed in ((512, 0), (256, 1))
    )
    return small(train, test, classes=8, seconds=0.5, short_side=36, crop=32)


def arcade():
    data = {"seconds": 2.0, "height": 64, "width": 64, "min_loudness": 0.02}
    train, test = presets.arcade(presets.SIX_GAMES, 128, 50, **data)
    return small(train, test, classes=16, seconds=0.5, short_side=64, crop=56)


def small(train, test, **knobs):
    """A narrow network, and what its frozen features know of the label."""
    return call(
        Experiment,
        source=train,
        method=call(AmbientSound, vision=call(L3Net, width=0.25), **knobs),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, schedule=call(Cosine)),
        steps=300,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=50),
            "linear": call(Linear, train=train, test=test, labels_per_class=5),
        },
    )


def tiny():
    train, test = presets.synthetic(36, frames=16)
    method = call(
        AmbientSound,
        vision=call(L3Net, width=0.0625),
        targets="bits",
        classes=4,
        seconds=0.1,
        short_side=36,
        crop=32,
    )
    return presets.tiny(method, (train, test), read=call(Read, layers=("pool",)))
