"""Talking faces (Speech2Vid, "You said that?") on VoxCeleb.

    python -m ssl_jax.train --config=audio/talking_face_voxceleb.py --workdir=runs/talk
    python -m ssl_jax.apply talk still.png --audio=a.wav --workdir=runs/talk

Data: the folder data/voxceleb with manifest.csv (path, split): videos of faces, cut out.
Cost: not measured.
Paper: shows videos, without a number.

Variants: `:masked` also sees the frame with its lower half black, as later work does; `:synthetic`
trains narrow networks on drawn faces in minutes on a CPU; `:tiny` is four steps on them.

    :synthetic, mean absolute error     where it moves   elsewhere   all
    ours                                0.093            0.036       0.038
    the same, another record's audio    0.199            0.039       0.043
    random init                         0.227            0.179       0.180
    a still in place of the frame       0.295            0.000       0.008
    1 seed, 4 minutes on 1 CPU core; ours in the paper's setting: not measured

The mouth follows the audio. What rests is blurred in so few steps, so that over all places a still
is nearer.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.talking import TalkingSource
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.talking_frames import TalkingFrames
from ssl_jax.experiment import Experiment
from ssl_jax.methods.audio.talking_face import TalkingFace
from ssl_jax.models.talking_face import Deblurring, FaceDecoder, FaceNet, SpeechEncoder
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, voxceleb, masked, synthetic, tiny)


def masked():
    return voxceleb(masked_target=True)


def voxceleb(**knobs):
    """Rate and batch are those of a published training code, which stops when nothing improves."""
    data = {
        "path": "data/voxceleb",
        "manifest": "manifest.csv",
        "kinds": ("video",),
        "need": ("frames", "audio"),
        "min_seconds": 1.0,
        "sample_rate": 16000,
    }
    train = call(FolderSource, split="train", **data)
    test = call(FolderSource, split="test", **data)
    return call(
        Experiment,
        source=train,
        method=talking(**knobs),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3),
        steps=100_000,
        batch_size=64,
        evaluators={
            "pretext": call(Pretext, source=test, every=10_000),
            "frames": call(TalkingFrames, source=test, every=10_000),
        },
    )


def talking(width: float = 1.0, embedding: int = 256, deblurring=None, **knobs):
    size = {"width": width, "embedding": embedding}
    return call(
        TalkingFace,
        vision=call(FaceNet, **size),
        audio=call(SpeechEncoder, **size),
        decoder=call(FaceDecoder, width=width),
        deblurring=deblurring or call(Deblurring),
        **knobs,
    )


def synthetic():
    """Mouths of drawn faces open as wide as a formant of the voice is high."""
    train, test = (call(TalkingSource, size=size, seed=seed) for size, seed in ((512, 0), (128, 1)))
    return call(
        Experiment,
        source=train,
        method=talking(
            width=0.125,
            embedding=64,
            deblurring=call(Deblurring, depth=3, channels=16),
            stills=1,
            size=64,
        ),
        optimizer=call(Optimizer, name="adam", learning_rate=2e-3, schedule=call(Cosine)),
        steps=400,
        batch_size=16,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=16),
            "frames": call(TalkingFrames, source=test),
        },
    )


def tiny():
    sources = tuple(
        call(TalkingSource, size=n, seed=s, seconds=1.0, side=32) for n, s in ((24, 0), (16, 1))
    )
    method = talking(
        width=0.04,
        embedding=8,
        deblurring=call(Deblurring, depth=2, channels=4),
        stills=2,
        size=32,
        columns=9,
        sharpen_after=0.0,
    )
    test = sources[1]
    evaluators = {
        "pretext": call(Pretext, source=test, batch_size=8),
        "frames": call(TalkingFrames, source=test, records=8),
    }
    return presets.tiny(method, sources, evaluators=evaluators)
