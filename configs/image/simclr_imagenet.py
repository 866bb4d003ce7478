"""SimCLR on ImageNet with ResNet-50, batch 4096, 100 epochs.

    python -m ssl_jax.train --config=configs/image/simclr_imagenet.py --workdir=runs/simclr

Data: TFDS `imagenet2012`, prepared as array_record. Cost: about 6 hours on 32 TPU v3 cores by the
authors' code; ours not measured.
Paper: 64.6 % by a linear probe (table B.1); here features are probed by kNN. Ours: not measured.

Variant: `:tiny` is four steps on synthetic data.
"""

from ssl_jax.config import call, variant_of
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.sources.tfds import TfdsSource
from ssl_jax.evals.knn import Knn
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.ridge import Ridge
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.simclr import SimCLR
from ssl_jax.models.resnet import ResNet
from ssl_jax.optim import Optimizer


def get_config(variant: str = ""):
    """The paper's run, or a variant's."""
    variant_of(variant, ("tiny",))
    return {"": imagenet, "tiny": tiny}[variant]()


def imagenet():
    train = call(TfdsSource, name="imagenet2012", split="train")
    test = call(TfdsSource, name="imagenet2012", split="validation")
    images, rows, epochs = 1_281_167, 4096, 100
    return call(
        Experiment,
        source=train,
        method=call(SimCLR, vision=call(ResNet, depth=50)),
        optimizer=call(
            Optimizer,
            name="lars",
            learning_rate=0.3 * rows / 256,
            schedule="cosine",
            warmup_steps=10 * images // rows,
            weight_decay=1e-6,
        ),
        steps=images * epochs // rows + 1,
        batch_size=rows,
        dtype="bfloat16",
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=rows, every=3000),
            "knn": call(Knn, train=train, test=test, layers=("pool",)),
        },
    )


def tiny():
    train = call(SyntheticSource, size=24, frames=1, height=40, width=40)
    test = call(SyntheticSource, size=16, frames=1, height=40, width=40, seed=1)
    return call(
        Experiment,
        source=train,
        method=call(
            SimCLR,
            vision=call(ResNet, depth=18, width=0.0625),
            size=32,
            stored=40,
            hidden=(16,),
            embedding=8,
        ),
        optimizer=call(Optimizer, name="lars", learning_rate=0.1),
        steps=4,
        batch_size=8,
        eval_batch_size=8,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=8),
            "ridge": call(Ridge, train=train, test=test),
        },
    )
