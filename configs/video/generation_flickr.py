"""VGAN on videos from Flickr: 32 frames of 64 pixels, a generator of two streams.

    python -m ssl_jax.train --config=video/generation_flickr.py --workdir=runs/vgan

Data: the folder data/flickr with manifest.csv (path, split): about two million videos in the paper,
stabilised here while training, if they are not; data/ucf101 for the probe.
Cost: 95,000 steps of 64 clips, not measured.
Paper: the discriminator fine-tuned on UCF101 52.1 %, see `finetune/ucf101.py:generation`.
Ours, in the paper's setting: not measured.

Variants: `:arcade` generates video of one game, whose camera rests, in minutes on a CPU; `:audited`
is the same with the audit for shortcuts; `:tiny` is four steps on synthetic data.

    :arcade                  linear probe: did the score rise?     mask    where it moves
    ours                     not measured
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.cues.camera import CameraMotion
from ssl_jax.cues.compression import JpegGrid
from ssl_jax.cues.overlays import Counters
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.evals.generated_videos import GeneratedVideos
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.generation import Generation
from ssl_jax.models.leaky_c3d import LeakyC3D
from ssl_jax.models.two_stream_generator import TwoStreamGenerator
from ssl_jax.optim import Optimizer


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, flickr, arcade, audited, tiny)


def optimizer(**knobs):
    return call(Optimizer, name="adam", learning_rate=2e-4, beta1=0.5, **knobs)


def videos(split: str):
    return call(
        FolderSource,
        path="data/flickr",
        manifest="manifest.csv",
        kinds=("video",),
        split=split,
        min_frames=32,
    )


def flickr():
    test = videos("test")
    probe = {"train": presets.ucf101("train"), "test": presets.ucf101("test")}
    return call(
        Experiment,
        source=videos("train"),
        method=call(Generation, vision=call(LeakyC3D), generator=call(TwoStreamGenerator)),
        optimizer=optimizer(),
        steps=95_000,
        batch_size=64,
        evaluators={
            "pretext": call(Pretext, source=test, every=5000),
            "generated": call(GeneratedVideos, source=test, every=5000),
            "linear": call(Linear, **probe, read=call(Read, clips=10)),
        },
    )


def arcade():
    """16 frames of 32 pixels, narrower networks. One game: one background."""
    size = {"seconds": 1.25, "height": 32, "width": 32, "hide_counters": True}
    train, test = presets.arcade(("space_invaders",), 512, 256, label="reward", **size)
    return call(
        Experiment,
        source=train,
        method=call(
            Generation,
            vision=call(LeakyC3D, channels=(32, 64, 128)),
            generator=call(TwoStreamGenerator, channels=(128, 64, 32)),
            frames=16,
            size=32,
            latent=64,
            stabilise=False,
        ),
        # In so few steps a generator of the same rate stays behind.
        optimizer=optimizer(rates=(("generator", 5.0),)),
        steps=300,
        batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=32),
            "generated": call(GeneratedVideos, source=test),
            "linear": call(Linear, train=train, test=test),
        },
    )


def audited():
    cues = (call(Counters), call(CameraMotion), call(JpegGrid))
    return presets.audited(arcade(), cues=cues, metric="discriminator_accuracy")


def tiny():
    method = call(
        Generation,
        vision=call(LeakyC3D, channels=(4, 6)),
        generator=call(TwoStreamGenerator, channels=(6, 4)),
        frames=8,
        size=16,
        latent=5,
    )
    train, test = presets.synthetic(20, frames=8)
    drawn = call(GeneratedVideos, source=test, records=4, drawn=2)
    return presets.tiny(method, (train, test), more={"generated": drawn})
