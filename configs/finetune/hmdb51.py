"""Fine-tuning on HMDB51 from the lists it comes with: which of 51 actions?

    python -m ssl_jax.train --config=finetune/hmdb51.py --workdir=runs/hmdb51 \
        --config.init_from=runs/clip_order

As finetune/ucf101.py, whose variants these are, and whose docstring says which trunk each takes.
The marks in the lists are 1 for videos that train, 2 for those that test and 0 for neither. Report
the three folds and their mean: --config.source.fold=2 --config.evaluators.test.test.fold=2.

Data: the videos in data/hmdb51/hmdb51_org, a folder an action, and the lists beside them in
data/hmdb51/testTrainMulti_7030_splits, both as distributed.
Cost: 150 epochs of clips, 200 of frames, not measured.
Paper (clip order, R(2+1)D): 30.9 %, mean over folds. Those of the variants are in
docs/action_recognition.md.
Differs from the paper: it holds out 400 training videos and keeps the best epoch; here all videos
train and the last step counts.

`:tiny` is four steps of the variant `:flow`, made narrow, on synthetic data.

Ours: not measured.
"""

from ssl_jax import presets
from ssl_jax.config import call, load_module
from ssl_jax.data.sources.synthetic import SHAPES
from ssl_jax.evals.finetuned import Classification
from ssl_jax.methods.finetune import Finetune
from ssl_jax.methods.label_tasks import OneLabel

ucf101 = load_module("finetune/ucf101.py")

HMDB51 = ucf101.Actions(
    "data/hmdb51/hmdb51_org", "../testTrainMulti_7030_splits", classes=51, videos=3570
)


def get_config(variant: str = ""):
    """Fold 1 with clips for the trunk of clip order, or a variant."""
    return ucf101.finetuned(HMDB51, variant, tiny)


def tiny():
    train, test = presets.synthetic(72, frames=8)
    method = call(
        Finetune,
        task=call(OneLabel, classes=len(SHAPES)),
        flow=ucf101.convolutions(":tiny_flow", "flow"),
        frames=3,
        candidates=5,
        reverse=0.5,
        height=72,
        width=72,
        crop=67,
        crops=10,
    )
    judge = call(Classification, test=test, stream="flow", clips=10)
    return presets.tiny(method, (train, test), evaluators={"test": judge})
