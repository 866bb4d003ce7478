"""Teacher and student (SoundNet, 8 layers) on the videos of Flickr.

First let two classifiers of images, say VGG-16 of ImageNet and of Places, say of each video what is
seen every five seconds (`ssl_jax.soft_labels.write_of`; none comes with this library). Then

    python -m ssl_jax.train --config=audio/teacher_student_flickr.py --workdir=runs/soundnet

Data: the folder data/flickr_soundnet with manifest.csv (path, split), and data/esc50, a folder of
the classes' folders, with manifest.csv (path, label, fold).
Cost: not measured.
Paper: ESC-50 74.2 %, DCASE 88 % by a linear SVM; with 5 layers ESC-50 66.1 % (from scratch 65.0 %).

Variants: `:five` is the network of five layers; `:arcade` trains a narrow one on game video in
minutes on a CPU, with a probe of another run for a teacher:

    python -m ssl_jax.train --config=audio/correspondence_audioset.py:arcade --workdir=runs/teacher
    python -m ssl_jax.soft_labels --config=audio/teacher_student_flickr.py:arcade \\
        --workdir=runs/teacher
    python -m ssl_jax.train --config=audio/teacher_student_flickr.py:arcade --workdir=runs/student

`:tiny` is four steps on synthetic data, with the records' own labels.

    Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.svm import Svm
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.audio.teacher_student import TeacherStudent
from ssl_jax.models.soundnet import SoundNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, flickr, five, arcade, tiny)


def flickr(**knobs):
    """Two million videos; the released code says how they are learnt, not for how long."""
    data = {
        "path": "data/flickr_soundnet",
        "manifest": "manifest.csv",
        "kinds": ("video",),
        "need": ("frames", "audio"),
        "sample_rate": 22050,
    }
    files = ("data/flickr_soundnet/objects.npz", "data/flickr_soundnet/scenes.npz")
    esc50 = call(
        FolderSource, path="data/esc50", manifest="manifest.csv", kinds=("audio",), need=("audio",)
    )
    return call(
        Experiment,
        source=call(FolderSource, split="train", **data),
        method=call(TeacherStudent, **{"audio": call(SoundNet), "soft_labels": files, **knobs}),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3),
        steps=100_000,
        batch_size=64,
        evaluators={"esc50": call(Svm, train=esc50, read=call(Read, stream="audio"))},
    )


def five():
    return flickr(audio=call(SoundNet, depth=5), head=(16, 12, 4))


def arcade():
    data = {"seconds": 2.0, "height": 64, "width": 64, "min_loudness": 0.02}
    train, test = presets.arcade(presets.SIX_GAMES, 128, 50, **data)
    return call(
        Experiment,
        source=train,
        method=call(
            TeacherStudent,
            audio=call(SoundNet, depth=5, width=0.25),
            soft_labels=("runs/teacher/soft_labels.npz",),
            head=(3, 1, 0),
            seconds=2.0,
            sample_rate=11025,
        ),
        optimizer=call(Optimizer, name="adam", learning_rate=1e-3, schedule=call(Cosine)),
        steps=300,
        batch_size=32,
        evaluators={
            "linear": call(
                Linear, train=train, test=test, read=call(Read, stream="audio"), labels_per_class=5
            ),
        },
    )


def tiny():
    train, test = presets.synthetic(16, frames=16)
    method = call(
        TeacherStudent,
        audio=call(SoundNet, depth=5, width=0.0625),
        classes=4,
        head=(4, 1, 1),
        seconds=1.0,
        sample_rate=8000,
    )
    return presets.tiny(method, (train, test), read=call(Read, stream="audio"))
