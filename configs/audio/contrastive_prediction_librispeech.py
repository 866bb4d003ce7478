"""Contrastive Predictive Coding (CPC) on LibriSpeech's 100 hours of clean speech.

    python -m ssl_jax.train --config=audio/contrastive_prediction_librispeech.py --workdir=runs/cpc

Data: the folder data/LibriSpeech as it is distributed, with two csv of yours in it: manifest.csv
(path, label: the speaker's number, split: train or test), the utterances of train-clean-100 by the
authors' lists, and phones.csv (file, start, end, label), phones as a forced alignment has them.
Cost: not measured.
Paper: linear classifiers of single steps, phones 64.6 % (random 27.6, MFCC 39.7, supervised 74.6),
speakers 97.4 % (random 1.87, MFCC 17.6, supervised 98.5). By negatives, phones: batch 64.6, the
own speaker 65.5, the own sequence 65.2, all but the own sequence 57.3 %.

Variants: `:channel_norm` is CPC_audio's (Riviere et al. 2020): 256 channels with a norm over them,
128 negatives drawn, the mean as score; its predictors here stay linear. `:arcade` trains a narrow
network on the sound of games in minutes on a CPU, `:stamps` on the spoken names of Tux Paint's
stamps (data/stamps, see `data.sources.spoken_names`); `:tiny` is four steps on synthetic data.

    :arcade          latent found among all     which game (chance 0.167), from
                     of the batch               one state (10 ms)    their mean
    ours             0.015                      0.606                0.913
    random init      0.003                      0.401                0.790
    MFCC, one step   –                          0.610                –
    forest of MFCC   –                          –                    0.983
    1 seed, 12 minutes on 1 busy CPU core

    :stamps          latent found among all     which language (chance 0.14),
                     of the batch               from one state (10 ms)    their mean
    ours             0.055                      0.724                     0.962
    random init      0.002                      0.298                     0.877
    MFCC, one step   –                          0.686                     –
    forest of MFCC   –                          –                         0.912
    1 seed, 20 minutes on 1 busy CPU core; controls and ours in the paper's setting: not measured

The share of negatives below the true latent falls with the distance, as in the paper: of `:arcade`
0.935 one step ahead and 0.818 twelve, of `:stamps` 0.993 and 0.793. On the sound of games, in which
hardly anything has a next phone, features made by hand are as good or better; on speech they are
worse. Where one speaker reads all names of a language, the voice tells the language as well.

The paper's score is the plain product of 512 channels; its learning rate is constant. That linear
predictors need a rate that rises slowly is from CPC_audio, and so is the padding, with which 20,480
samples give 128 steps.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.spoken_names import SpokenNames
from ssl_jax.evals.audio_forest import AudioForest
from ssl_jax.evals.frame_labels import FrameLabels
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.audio.contrastive_prediction import ContrastivePrediction
from ssl_jax.models.wave_encoder import WaveEncoder
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Constant, Cosine

STACK = {"kernels": (10, 8, 4, 4, 4), "strides": (5, 4, 2, 2, 2)}


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, librispeech, channel_norm, arcade, stamps, tiny)


def encoder(channels: int, norm: str, padding: tuple[int, ...] = (3, 2, 1, 1, 1)):
    return call(
        WaveEncoder,
        channels=(channels,) * 5,
        padding=padding,
        norm=norm,
        activation="relu",
        use_bias=True,
        **STACK,
    )


def librispeech(**knobs):
    data = {
        "path": "data/LibriSpeech",
        "manifest": "manifest.csv",
        "kinds": ("audio",),
        "need": ("audio",),
        "min_seconds": 1.28,
        "sample_rate": 16000,
    }
    train, test = (call(FolderSource, split=split, **data) for split in ("train", "test"))
    labels = {"train": train, "test": test, "frames": 500_000, "test_frames": 500_000}
    return call(
        Experiment,
        source=train,
        method=call(ContrastivePrediction, **{"audio": encoder(512, "none"), "local": 8, **knobs}),
        optimizer=call(
            Optimizer, name="adam", learning_rate=2e-4, schedule=call(Constant, warmup=5_000)
        ),
        steps=300_000,
        batch_size=64,
        evaluators={
            "pretext": call(Pretext, source=test, every=20_000),
            "phones": call(FrameLabels, labels="data/LibriSpeech/phones.csv", **labels),
            "speakers": call(FrameLabels, **labels),
        },
    )


def channel_norm():
    return librispeech(audio=encoder(256, "layer"), local=0, draws=128, score="mean")


def arcade():
    """Which game is heard?"""
    data = {"seconds": 2.0, "height": 16, "width": 16, "min_loudness": 0.02}
    train, test = presets.arcade(presets.SIX_GAMES, 128, 50, **data)
    return small(train, test, 8000, 8192, {"seconds": 2.0, "sample_rate": 16000})


def stamps():
    """Which language is spoken, by names that training never heard?"""
    train, test = (
        call(SpokenNames, split=split, limit=limit)
        for split, limit in (("train", 2000), ("test", 500))
    )
    config = small(train, test, 16000, 10240, {"seconds": 1.0, "sample_rate": 16000})
    # Speech is learned later than the sound of games, and not at all at three times the rate.
    config.optimizer.learning_rate, config.optimizer.schedule.warmup = 1e-3, 100
    config.steps = 1200
    return config


def small(train, test, sample_rate: int, samples: int, forest: dict):
    """A narrow network, and what the labels' probe reads of each step and of the mean."""
    return call(
        Experiment,
        source=train,
        method=call(
            ContrastivePrediction,
            # Unpadded, so that nothing but what is heard tells where a prediction falls.
            audio=encoder(64, "layer", (0,) * 5),
            width=64,
            samples=samples,
            sample_rate=sample_rate,
            local=8,
        ),
        optimizer=call(
            Optimizer, name="adam", learning_rate=3e-3, schedule=call(Cosine, warmup=20)
        ),
        steps=300,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=32),
            "frames": call(
                FrameLabels,
                train=train,
                test=test,
                read=call(Read, stream="context", layers=("context",), clips=2),
                frames=10_000,
            ),
            "linear": call(
                Linear,
                train=train,
                test=test,
                read=call(Read, stream="context", layers=("context_mean",), clips=2),
            ),
            "forest": call(AudioForest, train=train, test=test, trees=100, **forest),
        },
    )


def tiny():
    train, test = presets.synthetic(16, frames=16)
    audio = call(
        WaveEncoder,
        channels=(4, 4),
        kernels=(10, 8),
        strides=(5, 4),
        padding=(3, 2),
        norm="none",
        activation="relu",
        use_bias=True,
    )
    method = call(
        ContrastivePrediction, audio=audio, width=4, ahead=3, samples=400, sample_rate=8000
    )
    probe = call(
        FrameLabels,
        train=train,
        test=test,
        read=call(Read, stream="context", layers=("context",)),
        l2=(1e-3,),
    )
    return presets.tiny(
        method,
        (train, test),
        read=call(Read, stream="context", layers=("context_mean",)),
        more={"frames": probe},
    )
