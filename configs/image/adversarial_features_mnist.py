"""BiGAN on MNIST: encoder, generator and discriminator of two hidden layers.

    python -m ssl_jax.train --config=image/adversarial_features_mnist.py --workdir=runs/bigan

Data: TFDS `mnist`, prepared as array_record.
Cost: 400 epochs, half an hour on the authors' Titan X; ours not measured.
Paper, nearest neighbour on the encoder's features: 97.39 %, of the latent regressor 97.44 %, of the
joint one 97.13 %. An untrained encoder has 96.84 %, so that says little.

Variants: `:regressor` and `:joint_regressor`, the paper's ablations; `:fashion`, layers of 256 on
Fashion-MNIST with a larger learning rate, minutes on a CPU, from the idx files in
data/fashion_mnist; `:tiny` is four steps on synthetic data.

    :fashion       reconstruction of held-out images       linear probe, 10 labels per class
                   ratio           squared error           dense1          dense2
    ours           0.684 ± 0.017   0.082 ± 0.004           0.699 ± 0.006   0.697 ± 0.009
    random init    1.000 ± 0.000   0.169 ± 0.000           0.695 ± 0.007   0.677 ± 0.006
    raw pixels     –               –                       0.710
    autoencoder    0.376 ± 0.004   0.022 ± 0.001           –
    3 seeds, 6 to 15 minutes each on 1 core of a busy CPU; MNIST and the regressors: not measured

The ratio (see `Reconstructions`) of generated images is 0.591 ± 0.040, and 1.000 before training.
The autoencoder is `autoencoder_mnist.py:fashion` with a code of 50, too, and no noise. It
is trained for the error, BiGAN never sees it: the mean image has 0.086. By eye, BiGAN's images are
speckled; shoes come back as shoes and tops as tops, trousers mostly, bags seldom. The second layer
gains two points over its own random weights, the first nothing, and none beats raw pixels. There is
no control: nothing in the batch is a target that could be shuffled.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.data.sources.tfds import TfdsSource
from ssl_jax.evals.knn import Knn
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.reconstructions import Reconstructions
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.adversarial_features import AdversarialFeatures
from ssl_jax.models.generators import DenseGenerator
from ssl_jax.models.joint_discriminators import DenseDiscriminator
from ssl_jax.models.leaky_encoders import LeakyDense
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import HoldThenDecay

STREAMS = ("reconstruction", "generated")


def get_config(variant: str = ""):
    """The paper's, an ablation of it, or a variant."""
    return choose(variant, mnist, regressor, joint_regressor, fashion, tiny)


def networks(hidden: tuple[int, ...], size: int = 28, **knobs):
    """The method with three networks of the same hidden layers."""
    return call(
        AdversarialFeatures,
        vision=call(LeakyDense, hidden=hidden),
        generator=call(DenseGenerator, hidden=hidden, size=size),
        discriminator=call(DenseDiscriminator, hidden=hidden),
        size=size,
        stored=size,
        black=0.0,
        **{"latent": 50, **knobs},
    )


def optimizer(rate: float = 2e-4):
    return call(
        Optimizer,
        name="adam",
        learning_rate=rate,
        schedule=call(HoldThenDecay, hold=0.5, final=0.01),
        beta1=0.5,
        weight_decay=2.5e-5,
    )


def mnist(**knobs):
    train = call(TfdsSource, name="mnist", split="train")
    test = call(TfdsSource, name="mnist", split="test")
    epoch = 60_000 // 128
    return call(
        Experiment,
        source=train,
        method=networks((1024, 1024), **knobs),
        optimizer=optimizer(),
        steps=400 * epoch,
        batch_size=128,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=128, every=25 * epoch),
            "drawn": call(Reconstructions, source=test, streams=STREAMS, every=25 * epoch),
            "nearest": call(Knn, train=train, test=test, k=1),
            "linear": call(Linear, train=train, test=test),
        },
    )


def regressor():
    return mnist(game="images")


def joint_regressor():
    return mnist(game="images", joint=0.25)


def fashion():
    train, probe, test = presets.fashion_mnist()
    return call(
        Experiment,
        source=train,
        method=networks((256, 256)),
        optimizer=optimizer(1e-3),
        steps=6000,
        batch_size=64,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=64),
            "drawn": call(Reconstructions, source=test, streams=STREAMS),
            "linear": call(Linear, train=probe, test=test, labels_per_class=10, draws=10),
        },
    )


def tiny():
    method = networks((32, 32), size=8, latent=6)
    train, test = presets.synthetic(8)
    drawn = call(Reconstructions, source=test, streams=STREAMS)
    return presets.tiny(method, (train, test), more={"drawn": drawn})
