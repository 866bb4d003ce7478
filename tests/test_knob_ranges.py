"""Every knob of the recorded configs refuses a number below its range and a word it does not know.

Nothing is compiled: what cannot work is found when the config is built.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from ssl_jax import config
from ssl_jax.config import ConfigError, call
from ssl_jax.data.sources.array_record import ArrayRecordSource
from ssl_jax.data.sources.davis import DavisSource
from ssl_jax.data.sources.files import FilesSource
from ssl_jax.data.sources.folder import FolderSource
from ssl_jax.data.sources.idx import IdxSource
from ssl_jax.data.sources.jhmdb import JhmdbSource
from ssl_jax.data.sources.spoken_names import SpokenNames
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.data.sources.tfds import TfdsSource
from ssl_jax.evals.finetuned import Classification, Pose
from ssl_jax.evals.gradient_norms import GradientNorms
from ssl_jax.evals.keypoints import Keypoints
from ssl_jax.evals.knn import Knn
from ssl_jax.evals.text_video_retrieval import CaptionSource
from ssl_jax.methods.image.cluster_transfer import ClusterTransfer
from ssl_jax.methods.image.counting import Counting
from ssl_jax.methods.image.exemplar import Exemplar
from ssl_jax.methods.label_tasks import Joints, OneLabel
from ssl_jax.models.c3d import C3D
from ssl_jax.models.decoders import Adversary, Critic, DenseDecoder, ImageDecoder
from ssl_jax.models.encoders import ConvNet
from ssl_jax.models.heads import Classifier, ConvHead, MLPHead, PairwiseOrderHead
from ssl_jax.models.resnet_v2 import ResNetV2
from ssl_jax.models.s3d import S3D
from ssl_jax.models.siamese import Siamese
from ssl_jax.models.transformer import Transformer
from ssl_jax.models.vgg import DilatedVGG
from ssl_jax.training.schedules import HoldThenDecay, InverseSqrt, Linear, Plateau, Step, TriStage

CONFIGS = (
    "image/adversarial_features_imagenet.py:tiny",
    "image/adversarial_features_mnist.py:tiny",
    "image/autoencoder_mnist.py:tiny",
    "image/bootstrap_cifar10.py:tiny",
    "image/colorization_imagenet.py:tiny",
    "image/inpainting_imagenet.py:tiny",
    "image/jigsaw_imagenet.py:tiny",
    "image/mutual_information_cifar10.py:tiny",
    "image/relative_position_imagenet.py:tiny",
    "image/rotation_cifar10.py:tiny",
    "image/simclr_cifar10.py:tiny",
    "image/split_brain_imagenet.py:tiny",
    "image/triplet_exemplar_imagenet.py:tiny",
    "audio/ambient_sound_flickr.py:tiny",
    "audio/contrastive_prediction_librispeech.py:tiny",
    "audio/correspondence_audioset.py:tiny",
    "audio/cross_modal_clustering_kinetics.py:tiny",
    "audio/masked_contrast_librispeech.py:tiny",
    "audio/teacher_student_flickr.py:tiny",
    "audio/indicated_sound_greatest_hits.py:tiny",
    "audio/talking_face_voxceleb.py:tiny",
    "video/arrow_of_time_ucf101.py:tiny",
    "video/clip_order_ucf101.py:tiny",
    "video/colour_pointing_kinetics.py:tiny",
    "video/cross_and_learn_ucf101.py:tiny",
    "video/long_term_motion_ucf101.py:tiny",
    "video/motion_statistics_ucf101.py:tiny",
    "video/generation_flickr.py:tiny",
    "video/masked_features_kinetics.py:tiny",
    "video/odd_one_out_ucf101.py:tiny",
    "video/dense_prediction_ucf101.py:tiny",
    "video/order_prediction_ucf101.py:tiny",
    "video/patch_tracking_ucf101.py:tiny",
    "video/pose_from_action_ucf101.py:tiny",
    "video/space_time_puzzle_ucf101.py:tiny",
    "video/speediness_ucf101.py:tiny",
    "video/shuffle_and_learn_ucf101.py:tiny",
    "video/time_contrast_pouring.py:tiny",
    "text/autoregressive_openwebtext.py:tiny",
    "text/masked_books.py:tiny",
    "text/span_corruption_c4.py:tiny",
    "text/word_vectors_text8.py:tiny",
    "video_text/margin_howto100m.py:tiny",
    "video_text/multilingual_howto100m.py:tiny",
    "video_text/multiple_instance_howto100m.py:tiny",
    "video_text/support_set_msrvtt.py:tiny",
    "finetune/librispeech.py:tiny",
    "finetune/voc2007.py:tiny",
    "quickstart.py:tiny",
)

# Text that only a run can judge, as it names a stream, layer, fact, file or run.
NAMES = {"stream", "query", "gallery", "text", "video", "other", "layer", "kernel", "fold_key"}
NAMES |= {"relevance", "file", "resume", "init_from", "path", "name", "clusters", "trunk"}
NAMES |= {"manifest", "lists", "split", "data_dir", "resolution", "labels", "language"}
NAMES |= {"vectors", "features", "cache"}
# What only the whole experiment can judge; tried below.
OF_THE_WHOLE = {"every", "keep_best"}
# Of pixels, which may be of either sign.
PIXELS = {"mean", "fill", "black"}


def groups(node: ConfigDict, path: str = "") -> Iterator[tuple[str, ConfigDict]]:
    """Each recorded call of a config, with its place."""
    for name, value in node.items():
        if isinstance(value, ConfigDict):
            yield from groups(value, f"{path}.{name}".removeprefix("."))
    if "call" in node:
        yield path, node


def out_of_range(value: object) -> object:
    """A value of the same type that no knob takes; None if there is none to try."""
    match value:
        case bool():
            return None
        case int() | float():
            return type(value)(-1)
        case str():
            return "nonsense"
        case (int() | float(), *_):
            return tuple(map(out_of_range, value))
    return None


def others(folder: Path) -> Iterator[ConfigDict]:
    """What the configs above do not use."""
    few, source = str(folder), call(SyntheticSource, size=8)
    yield from (call(FolderSource, path=few), call(ArrayRecordSource, paths=(few,)))
    yield from (call(DavisSource, path=few), call(JhmdbSource, path=few))
    yield from (call(IdxSource, path=few), call(FilesSource, paths=("a.png",)))
    yield call(SpokenNames)
    yield from (call(TfdsSource, name="mnist", split="train"), call(CaptionSource, source=source))
    yield from (call(Knn, train=source, test=source), call(Keypoints, train=source, test=source))
    yield from (call(Classification, test=source), call(Pose, test=source))
    yield call(GradientNorms, source=source, metrics=("loss",))
    for trunk in (C3D, ConvNet, DilatedVGG, ResNetV2, ImageDecoder, Critic, Adversary, MLPHead):
        yield call(trunk)
    yield from (call(kind, classes=3) for kind in (PairwiseOrderHead, Classifier, ConvHead))
    yield from (call(S3D), call(Transformer))
    yield call(DenseDecoder, hidden=(4,), out=4)
    yield call(Siamese, vision=call(C3D), classes=3)
    yield call(ClusterTransfer, vision=call(C3D), clusters="")
    yield from (call(Counting, vision=call(C3D)), call(Exemplar, vision=call(C3D), exemplars=9))
    yield from (call(OneLabel, classes=3), call(Joints, joints=3))
    yield from (call(Linear), call(InverseSqrt, warmup=3), call(TriStage), call(Plateau))
    yield call(HoldThenDecay)
    yield call(Step, boundaries=(3,))


def once_a_class(folder: Path) -> Iterator[tuple[str, ConfigDict]]:
    """The recorded calls of all configs and the others, with places; of each class the first."""
    seen = set()
    recorded = [config.load(name) for name in CONFIGS]
    recorded += [ConfigDict({"mine": group}) for group in others(folder)]
    for one in recorded:
        for place, group in groups(one):
            if group.call not in seen:
                seen.add(group.call)
                yield place, group


def test_a_value_out_of_range_is_refused_by_the_knobs_name(tmp_path):
    taken = []
    for place, group in once_a_class(tmp_path):
        for knob, value in group.items():
            wrong = out_of_range(value)
            if knob in {"call", *NAMES, *PIXELS, *OF_THE_WHOLE} or wrong is None:
                continue
            with group.ignore_type():
                group[knob] = wrong
            try:
                config.build(group, place=place)
            except ConfigError as error:
                line = str(error)
                assert line.startswith(place), line
                assert knob in line, line
                assert "\n" not in line, line
            else:
                taken.append(f"{place}.{knob}={wrong}")
            group[knob] = value
    assert taken == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("evaluators.geometry.every", -1, r"evaluators\.geometry\.every=-1 must be at least 0"),
        ("checkpoints.keep_best", "nonsense", r"checkpoints\.keep_best=nonsense: no evaluator"),
        ("seed", 2**63, "seed=9223372036854775808 must be below 9223372036854775808"),
        ("profile", (5, 2), r"profile=\(5, 2\) should be the first and last step"),
        ("method.area", (1.0, 0.1), r"method: area=\(1.0, 0.1\) must be the smallest and the"),
        ("method.area", (0.1, 1.5), r"method: area=\(0.1, 1.5\): each must be from 0 to 1"),
        ("optimizer.learning_rate", float("nan"), "optimizer: learning_rate=nan must be at least"),
        ("method.temperature", 0.0, "method: temperature=0.0 must be above 0"),
        ("method.vision.width", 0.0, r"method\.vision: width=0.0 must be above 0"),
        ("optimizer.name", "lamb", "optimizer: name='lamb' must be one of sgd, adam"),
        ("optimizer.beta2", 1.0, "optimizer: beta2=1.0 must be below 1"),
    ],
)
def test_a_knob_out_of_range_is_one_line(path, value, message):
    changed = config.load("image/simclr_cifar10.py:tiny")
    config.override(changed, path, value)
    with pytest.raises(ConfigError, match=rf"^{message}"):
        config.build(changed)
