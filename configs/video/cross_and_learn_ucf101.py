"""Cross and Learn on UCF101, split 1, frames against frame differences, with CaffeNet.

    python -m ssl_jax.train --config=video/cross_and_learn_ucf101.py --workdir=runs/cross

Data: the folder data/ucf101 with manifest.csv (path, label, split).
Cost: 63,000 steps, not measured; the paper's took 6 hours on one GPU of 2018. Flow that `prepare
--flow` did not store is computed while training, about 0.2 s of one CPU core a video.
Paper: the network of frames fine-tuned reaches 58.7 % on UCF101 and 27.2 % on HMDB51, VGG-16's
70.5 % and 33.0 %; see finetune/ucf101.py:frames and its neighbours.

Variants: `:flow` has optical flow in place of differences, `:vgg` is the same with VGG-16,
`:concat` the paper's baseline, which classifies the two as a match or not. `:arcade` trains narrow
networks on game video in minutes on a CPU, `:arcade_flow` with flow and hidden counters; `:audited`
is `:arcade` with the audit for shortcuts; `:tiny` is four steps on synthetic data, `:tiny_flow`
with flow.

    :arcade             frame to motion, R@10 of 192   linear probe, 2 labels per game
                        (chance 0.052)                 conv4           fc6
    ours                0.198 ± 0.038                  0.989 ± 0.006   0.905 ± 0.044
    random init         0.052 ± 0.005                  0.968 ± 0.033   0.939 ± 0.026
    shuffled control    0.050 ± 0.023                  –               –
    raw pixels          –                              0.995
    3 seeds, 4 minutes each on 1 CPU core, unseen episodes; paper's setting: not measured

What is recognised is the game: among videos of one game R@10 is at chance (1 seed: 0.318, chance
0.312). `:arcade_flow`: not measured.

Audit for shortcuts (1 seed, 192 test videos; of the loss, -0.525): without fine detail it loses
0.389 [0.278, 0.501] more than in the control, without camera motion 0.185 [0.095, 0.274], without
black borders 0.095 [0.011, 0.179]; BatchNorm 0.043 [0.003, 0.084], JPEG grid 0.015 [0.004, 0.027].
Of the other ten, counters, cuts and colours among them, none is above 0.
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
from ssl_jax.models.vgg16 import VGG16
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import Cosine, Step

NARROW = {"width": 0.25, "fc6": 512, "conv1_stride": 2}
TEN_FIELDS = {"frames": 11, "candidates": 25}


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    small = arcade, arcade_flow, audited, tiny, tiny_flow
    return choose(variant, ucf101, flow, vgg, concat, *small)


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


def vgg_trunk():
    """VGG-16 up to fc6, whose dropout comes last: the compared features are noisy."""
    return call(VGG16, bn_after_relu=False, bn_eps=1e-5, pool5=True, fc6=4096)


def ucf101():
    return paper(vision=trunk(), difference=trunk())


def flow():
    return paper(vision=trunk(), flow=trunk(), **TEN_FIELDS)


def vgg():
    return paper(vision=vgg_trunk(), flow=vgg_trunk(), **TEN_FIELDS)


def concat():
    return paper(vision=trunk(), flow=trunk(), joint=4096, **TEN_FIELDS)


def paper(**knobs):
    method = call(CrossAndLearn, **knobs)
    train, test = presets.ucf101("train", min_frames=method.frames), presets.ucf101("test")
    steps = 200 * 317
    return call(
        Experiment,
        source=train,
        method=method,
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
    narrow = trunk(**NARROW)
    return on_arcade({}, vision=narrow, difference=narrow, candidates=10)


def arcade_flow():
    # Of small frames little moves by more than five pixels.
    narrow, fields = trunk(**NARROW), {"frames": 6, "candidates": 10, "bound": 5.0}
    return on_arcade({"hide_counters": True}, vision=narrow, flow=narrow, **fields)


def on_arcade(data, **knobs):
    size = {"seconds": 2.0, "frame_skip": 4, "height": 80, "width": 80}
    train, test = presets.arcade(presets.SIX_GAMES, 128, 32, **size, **data)
    return call(
        Experiment,
        source=train,
        method=call(CrossAndLearn, short_side=80, crop=72, **knobs),
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
                gallery="flow" if "flow" in knobs else "difference",
                layer="fc6",
            ),
            "linear": call(Linear, train=train, test=test, labels_per_class=2),
        },
    )


def audited():
    return presets.audited(arcade())


def tiny():
    return on_synthetic("difference")


def tiny_flow():
    return on_synthetic("flow", frames=3, joint=4)


def on_synthetic(motion, **knobs):
    narrow = trunk(width=0.0625, fc6=128)
    train, test = presets.synthetic(80, frames=8)
    streams = {"query": "vision", "gallery": motion, "layer": "fc6"}
    trunks = {"vision": narrow, motion: narrow}
    return presets.tiny(
        call(CrossAndLearn, short_side=80, crop=67, candidates=7, **trunks, **knobs),
        (train, test),
        read=call(Read, stream=motion),
        more={"retrieval": call(CrossModalRetrieval, test=test, **streams, ks=(1, 5))},
    )
