"""BiGAN on ImageNet: an AlexNet encoder against DCGAN's generator and discriminator.

    python -m ssl_jax.train --config=image/adversarial_features_imagenet.py --workdir=runs/bigan

Data: TFDS `imagenet2012`, prepared as array_record.
Cost: 100 epochs, not measured.
Paper, convolutions up to the one named frozen and the rest trained with labels, ImageNet:

                      conv1   conv2   conv3   conv4   conv5
    BiGAN             54.2    51.9    47.3    41.9    31.1 %
    `:large`          53.5    50.9    47.4    41.9    32.2 %
    untrained         48.5    41.0    34.8    27.1    12.0 %
    linear probe      17.7    24.5    31.0    29.9    28.0 %   (by Zhang, Isola, Efros 2017)

`:large` fine-tuned on PASCAL VOC 2007: 60.1 % classification, 46.9 % detection.

Variants: `:large` is the paper's generalised BiGAN, whose encoder sees 112 pixels and whose other
networks stay at 64; `:regressor` is its ablation; `:tiny` is four steps on synthetic data.

Ours: not measured. `adversarial_features_mnist.py:fashion` is the small run.
"""

from ssl_jax import presets
from ssl_jax.config import call, choose
from ssl_jax.evals.linear import Linear
from ssl_jax.evals.pretext import Pretext
from ssl_jax.evals.reconstructions import Reconstructions
from ssl_jax.experiment import Experiment
from ssl_jax.methods.image.adversarial_features import AdversarialFeatures
from ssl_jax.models.generators import ConvGenerator
from ssl_jax.models.joint_discriminators import ConvDiscriminator
from ssl_jax.models.leaky_encoders import LeakyAlexNet
from ssl_jax.optim import Optimizer
from ssl_jax.training.schedules import HoldThenDecay

STREAMS = ("reconstruction", "generated")


def get_config(variant: str = ""):
    """The paper's, its larger encoder, an ablation, or a variant."""
    return choose(variant, imagenet, large, regressor, tiny)


def optimizer():
    return call(
        Optimizer,
        name="adam",
        learning_rate=2e-4,
        schedule=call(HoldThenDecay, hold=0.5, final=0.01),
        beta1=0.5,
        weight_decay=2.5e-5,
    )


def imagenet(**knobs):
    train, probe, test = presets.imagenet()
    epoch = 1_281_167 // 128
    return call(
        Experiment,
        source=train,
        method=call(
            AdversarialFeatures,
            vision=call(LeakyAlexNet),
            generator=call(ConvGenerator),
            discriminator=call(ConvDiscriminator),
            **knobs,
        ),
        optimizer=optimizer(),
        steps=100 * epoch,
        batch_size=128,
        evaluators={
            "pretext": call(Pretext, source=test, batch_size=128, every=epoch),
            "drawn": call(Reconstructions, source=test, streams=STREAMS, every=epoch),
            "linear": call(Linear, train=probe, test=test),
        },
    )


def large():
    return imagenet(size=112, stored=128)


def regressor():
    return imagenet(game="images")


def tiny():
    method = call(
        AdversarialFeatures,
        vision=call(LeakyAlexNet, width=0.0625),
        generator=call(ConvGenerator, channels=(16, 8)),
        discriminator=call(ConvDiscriminator, channels=(8, 16)),
        size=24,
        stored=26,
        latent=6,
    )
    train, test = presets.synthetic(32)
    drawn = call(Reconstructions, source=test, streams=STREAMS)
    return presets.tiny(method, (train, test), more={"drawn": drawn})
