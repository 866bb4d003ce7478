"""Audio-visual correspondence (AVE-Net) on the instruments of AudioSet.

    python -m ssl_jax.train --config=configs/audio/correspondence_audioset.py --workdir=runs/ave

Data: the folder data/audioset_instruments with manifest.csv (path, split). Cost: not measured.
Paper: correspondence accuracy 81.9 %; its retrieval score is nDCG@30 over a tree of labels
(`GradedRetrieval`; here recall). Ours at this setting: not measured.

Variants: `:arcade` trains narrow networks on game video with sound in minutes on a CPU; `:tiny` is
four steps on synthetic data.

Ours, `:arcade`, three seeds (mean ± deviation; seven minutes each on a CPU core), on new plays:
pairs are told apart 0.889 ± 0.002 of the time, control with shuffled sounds 0.525 ± 0.038, chance
0.5. Within a game the sound of a picture is among the first 10 of 50 0.260 ± 0.017 of the time
(random initialisation 0.199 ± 0.010, control 0.199 ± 0.008, chance 0.200). Game from sound, five
labels each: embedding 0.884 ± 0.054, at random initialisation 0.464 ± 0.030, spectrogram 0.421.
"""

from ssl_jax.config import call, choose
from ssl_jax.data.sources.arcade import ArcadeSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.cross_modal_retrieval import CrossModalRetrieval
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.ridge import Ridge
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.audio.correspondence import Correspondence
from ssl_jax.models.audio import AudioNet
from ssl_jax.models.l3 import L3Net
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, audioset, arcade, tiny)


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
        method=call(Correspondence, vision=call(L3Net), audio=call(AudioNet)),
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
            "retrieval": call(CrossModalRetrieval, test=test),
        },
    )


def arcade():
    games = ("seaquest", "enduro", "space_invaders", "beam_rider", "assault", "demon_attack")
    data = {"games": games, "seconds": 2.0, "height": 64, "width": 64, "min_loudness": 0.02}
    train = call(ArcadeSource, clips_per_game=256, **data)
    test = call(ArcadeSource, clips_per_game=50, split="test", **data)
    return call(
        Experiment,
        source=train,
        method=call(
            Correspondence,
            vision=call(L3Net, width=0.25),
            audio=call(AudioNet, width=0.25),
            short_side=64,
            crop=64,
            sample_rate=15360,
            window=512,
            hop=256,
            bins=512,
        ),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, schedule=call(Cosine)),
        steps=400,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=48),
            "retrieval": call(CrossModalRetrieval, test=test, within_groups=True),
            "linear": call(
                Linear, train=train, test=test, read=call(Read, stream="audio"), labels_per_class=5
            ),
        },
    )


def tiny():
    data = {"frames": 32, "height": 36, "width": 36}
    train = call(SyntheticSource, size=24, **data)
    test = call(SyntheticSource, size=16, seed=1, **data)
    return call(
        Experiment,
        source=train,
        method=call(
            Correspondence,
            vision=call(L3Net, width=0.0625),
            audio=call(AudioNet, width=0.0625),
            short_side=36,
            crop=32,
            seconds=0.5,
            sample_rate=8000,
            window=128,
            hop=64,
            bins=128,
            within=1,
            apart=0.5,
            embedding=8,
        ),
        optimizer=call(Optimizer, name="sgd", learning_rate=0.01),
        steps=4,
        batch_size=8,
        eval_batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8),
            "retrieval": call(CrossModalRetrieval, test=test, ks=(1, 5)),
            "ridge": call(Ridge, train=train, test=test, read=call(Read, stream="audio")),
        },
    )
