"""Cross and Learn on UCF101, split 1, frames against frame differences, with CaffeNet.

    python -m ssl_jax.train --config=video/cross_and_learn_ucf101.py --workdir=runs/cross

Data: the folder data/ucf101 with manifest.csv (path, label, split).
Cost: 63,000 steps, not measured; the paper's took 6 hours on one GPU of 2018.
Paper (optical flow instead of differences): fine-tuned 58.7 % on UCF101, as in
finetune/ucf101.py:frames.

Variants: `:arcade` trains a narrow network on game video in minutes on a CPU; `:tiny` is four steps
on synthetic data.

    :arcade             frame to motion, R@10 of 192   linear probe, 2 labels per game
                        (chance 0.052)                 conv4           fc6
    ours                0.198 ± 0.038                  0.989 ± 0.006   0.905 ± 0.044
    random init         0.052 ± 0.005                  0.968 ± 0.033   0.939 ± 0.026
    shuffled control    0.050 ± 0.023                  –               –
    raw pixels          –                              0.995
    3 seeds, 4 minutes each on 1 CPU core, unseen episodes; paper's setting: not measured

What is recognised is the game: among videos of one game R@10 is at chance (1 seed: 0.318, chance
0.312).
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.clip_retrieval import ClassRetrieval
from ssl_jax.evals.cross_modal_retrieval import CrossModalRetrieval
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evaluator import Read
from ssl_jax.experiment import Experiment
from ssl_jax.methods.video.cross_and_learn import CrossAndLearn
from ssl_jax.models.alexnet import CONVS, AlexNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    return choose(variant, ucf101, arcade, audited, tiny)


def trunk(**changes):
    """The authors' CaffeNet: BatchNorm after each ReLU, no LRN, fc6 the compared features."""
    knobs = {
        "normed": CONVS,
        "bn_after_relu": True,
        "conv1_padding": 2,
        "ceil_pooling": False,
        "fc7": 0,
        "dropout_before": True,
    }
    return call(AlexNet, **{**knobs, **changes})


def ucf101():
    train, test = presets.ucf101("train", min_frames=5), presets.ucf101("test")
    steps = 200 * 317
    return call(
        Experiment,
        source=train,
        method=call(CrossAndLearn, vision=trunk(), difference=trunk()),
        optimizer=call(
            Optimizer,
            name="sgd",
            learning_rate=0.01,
            schedule=call(Step, boundaries=(steps * 3 // 4,)),
            weight_decay=5e-4,
        ),
        steps=steps,
        batch_size=60,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=60, every=3170),
            "retrieval": call(ClassRetrieval, train=train, test=test),
        },
    )


def arcade():
    data = {"seconds": 2.0, "frame_skip": 4, "height": 80, "width": 80}
    train, test = presets.arcade(presets.SIX_GAMES, 128, 32, **data)
    narrow = trunk(width=0.25, fc6=512, conv1_stride=2)
    return call(
        Experiment,
        source=train,
        method=call(
            CrossAndLearn, vision=narrow, difference=narrow, short_side=80, crop=72, candidates=10
        ),
        optimizer=call(
            Optimizer, name="sgd", learning_rate=0.02, schedule=call(Cosine), weight_decay=5e-4
        ),
        steps=300,
        batch_size=32,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=32),
            "retrieval": call(
                CrossModalRetrieval,
                test=test,
                query="vision",
                gallery="difference",
                layer="fc6",
            ),
            "linear": call(Linear, train=train, test=test, labels_per_class=2),
        },
    )


def audited():
    return presets.audited(arcade())


def tiny():
    narrow = trunk(width=0.0625, fc6=128)
    train, test = presets.synthetic(80, frames=8)
    streams = {"query": "vision", "gallery": "difference", "layer": "fc6"}
    return presets.tiny(
        call(CrossAndLearn, vision=narrow, difference=narrow, short_side=80, crop=67, candidates=7),
        (train, test),
        read=call(Read, stream="difference"),
        more={"retrieval": call(CrossModalRetrieval, test=test, **streams, ks=(1, 5))},
    )
