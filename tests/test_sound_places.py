"""Where a sound comes from (AVOL-Net), the scores of it, and L3-Net's joined trunks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.pipeline import Loading
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.sound_places import SoundPlaces
from ssl_jax.methods.audio.correspondence import Correspondence
from ssl_jax.methods.audio.localization import Localization
from ssl_jax.models.audio import AudioNet
from ssl_jax.models.l3 import L3Net
from ssl_jax.objectives.localization import (
    match_at_best_place,
    match_in_batch,
    place_logits,
)
from ssl_jax.scores.sound_places import consensus_iou, share_and_area
from ssl_jax.train import fit
from ssl_jax.training.trained import load

HEAT = np.array([[0.9, 0.8, 0.1, 0], [0.7, 0.6, 0.2, 0], [0.3, 0.2, 0.1, 0], [0, 0, 0, 0]])
KEY = jax.random.key(0)


def weights(method, batch) -> int:
    made = jax.eval_shape(lambda: method.net.init(KEY, batch, train=True))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(made["params"]))


PAIR = {"vision": jnp.zeros((1, 224, 224, 3)), "audio": jnp.zeros((1, 1, 200, 257))}


def test_l3_net_has_the_published_number_of_weights():
    trunks = L3Net(first_stride=1), AudioNet(first_stride=1)
    assert weights(Correspondence(*trunks, criterion="concatenation"), PAIR) == 9_508_738


def test_avol_net_has_ave_nets_weights_and_a_map_of_14_x_14():
    method = Localization(L3Net(), AudioNet())
    # fc3 of AVE-Net has two scales and two biases, of which only differences count.
    assert weights(method, PAIR) == 9_541_636 - 2

    def answer():
        variables = method.net.init(KEY, PAIR, train=True)
        pair = {**PAIR, "audio": PAIR["audio"][:, 0]}
        return method.net.apply(variables, pair, False, method="map")["map"]

    assert jax.eval_shape(answer).shape == (1, 14, 14, 1)


def test_the_best_place_answers():
    scores = jnp.array([[[0.1, 0.9], [0.4, -0.3]]])
    places = scores[..., None] * jnp.array([1.0, 0.0])
    sound = jnp.array([[1.0, 0.0]])
    logits = place_logits(places, sound, jnp.float32(2.0), jnp.float32(-0.5))
    assert jax.nn.sigmoid(logits).max() == pytest.approx(0.785835, abs=1e-6)
    loss, metrics = match_at_best_place(places, sound, -sound, jnp.float32(2.0), jnp.float32(-0.5))
    # The other sound's best place is that of -0.3.
    p, q = 0.785835, 1 / (1 + np.exp(-(0.6 - 0.5)))
    assert loss == pytest.approx(-(np.log(p) + np.log(1 - q)) / 2, abs=1e-5)
    assert metrics["accuracy"] == 0.5
    every = 1 / (1 + np.exp(-(2 * np.array([0.1, 0.9, 0.4, -0.3]) - 0.5)))
    assert metrics["own"] == pytest.approx(every.mean(), abs=1e-6)


@pytest.mark.parametrize("soft", [False, True])
def test_in_a_batch_every_other_sound_must_find_no_place(soft):
    rng = np.random.default_rng(0)
    places, sounds = rng.normal(size=(4, 2, 3, 5)), rng.normal(size=(4, 5))
    scale, bias = 0.7, -0.3
    own, others, right = [], [], []
    for i in range(4):
        for j in range(4):
            logits = [scale * p @ sounds[j] + bias for p in places[i].reshape(-1, 5)]
            best = np.log(np.mean(np.exp(logits))) if soft else max(logits)
            chance = 1 / (1 + np.exp(-best))
            if i == j:
                own.append(-np.log(chance))
                right.append((best > 0) / 4)
            else:
                others.append(-np.log(1 - chance))
                right.append((best <= 0) / 12)
    arrays = (jnp.asarray(x, jnp.float32) for x in (places, sounds, scale, bias))
    loss, metrics = match_in_batch(*arrays, soft)
    assert loss == pytest.approx((np.mean(own) + np.mean(others)) / 2, rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(sum(right) / 2, abs=1e-6)
    answers = 1 / (1 + np.exp(-(scale * np.einsum("bhwd,nd->bnhw", places, sounds) + bias)))
    means = answers.mean((2, 3))
    assert metrics["own"] == pytest.approx(means.diagonal().mean(), rel=1e-5)
    assert metrics["other"] == pytest.approx(means[~np.eye(4, dtype=bool)].mean(), rel=1e-5)


def test_before_training_no_answer_is_likelier_anywhere():
    method = small()
    record = SyntheticSource(size=1, frames=16, height=32, width=32)[0]
    clips = method.clips(record, "map", method.times(record, "map", 1))
    batch = method.inputs({name: jnp.asarray(x) for name, x in clips.items()})
    made = method.net.init(KEY, {**batch, "audio": batch["audio"][:, None]}, train=True)
    logits = method.net.apply(made, batch, False, method="map")["map"]
    assert 0 < jnp.abs(logits).max() < 0.2


def test_all_of_the_batch_is_of_other_videos():
    with pytest.raises(ConfigError, match="within=1: criterion=batch compares with audio of other"):
        small(criterion="batch", within=1)


def test_consensus_of_a_box_and_of_two_annotators():
    box = np.zeros((4, 4))
    box[:2, :2] = 1
    rows = np.zeros((4, 4))
    rows[:2] = 1
    assert consensus_iou(HEAT, box) == pytest.approx(4 / 7)
    assert consensus_iou(HEAT, (box + rows) / 2) == pytest.approx(0.5625)


def test_a_flat_map_answers_nothing_and_an_empty_truth_is_no_number():
    truth = np.eye(4)
    assert consensus_iou(np.ones((4, 4)), truth) == 0.0
    assert np.isnan(consensus_iou(HEAT, np.zeros((4, 4))))


def test_share_and_area_over_thresholds():
    assert share_and_area([0.9, 0.55, 0.5, 0.2]) == pytest.approx((0.75, 0.5625))
    assert share_and_area([0.1, 0.5, 0.6, 0.9]) == pytest.approx((0.75, 0.55))


def test_unknown_pixels_count_for_nothing():
    box = np.zeros((4, 4))
    box[:2, :2] = 1
    beside = np.zeros((4, 4), bool)
    beside[2, :2] = True  # two of the three answers outside the box
    assert consensus_iou(HEAT, box, beside) == pytest.approx(4 / 5)


@dataclasses.dataclass
class Answers:
    """Stands for a network: its map is what `heat` makes of the frames."""

    method: Localization
    heat: object
    batch_size: int = 4
    loading: Loading = Loading()

    def maps(self, stream, inputs, layers):
        return {"map": self.heat(inputs["vision"])}


def small(**knobs) -> Localization:
    sound = {"sample_rate": 8000, "seconds": 0.5, "window": 128, "hop": 64, "bins": 128}
    trunks = L3Net(width=0.0625), AudioNet(width=0.0625)
    return Localization(*trunks, short_side=32, crop=32, embedding=8, **sound, **knobs)


def test_maps_of_what_sounds_are_right_and_those_beside_it_are_wrong():
    source = SyntheticSource(size=6, frames=16, height=32, width=48)
    method = small()
    truths = []
    for record in source:
        (time,) = method.times(record, "map", 1)
        mask = np.asarray(record.extra["mask"](record.frame_at(time + 0.25)))
        truths.append(mask[:, 8:40])  # the middle square
    truth = np.stack(truths).astype(np.float64)[..., None]
    right = dict(SoundPlaces(source, drawn=2).run(Answers(method, lambda frames: truth)))
    assert right["mean"] == right["ciou"] == right["area"] == right["pointing"] == 1.0
    wrong = dict(SoundPlaces(source, drawn=2).run(Answers(method, lambda frames: -truth)))
    assert wrong["mean"] == wrong["pointing"] == 0.0
    # A map that is highest in the middle is right by chance, in the same way whatever is heard.
    assert 0 < right["centre/mean"] == wrong["centre/mean"] < 1
    assert right["places"].dtype == np.uint8


@pytest.mark.parametrize("agree", [1, 2])
def test_boxes_of_several_annotators_count_as_far_as_these_agree(agree):
    # One box is the upper half, the other the left one: they agree on a quarter.
    boxes = {"boxes": "0 0 0.5 1; 0 0 1 0.5"}
    record = next(iter(SyntheticSource(size=1, frames=16, height=32, width=32)))
    source = [dataclasses.replace(record, extra=boxes)] * 2
    truth = np.zeros((32, 32))
    truth[:16] += 1
    truth[:, :16] += 1
    truth = np.minimum(truth / agree, 1)
    heat = np.random.default_rng(0).normal(size=(32, 32))
    answers = Answers(small(), lambda frames: np.stack([heat] * len(frames))[..., None])
    found = dict(SoundPlaces(source, agree=agree).run(answers))
    assert found["mean"] == pytest.approx(consensus_iou(heat, truth))


def test_records_without_masks_are_drawn_and_not_scored():
    source = list(SyntheticSource(size=4, frames=16, height=32, width=32))
    plain = [dataclasses.replace(record, extra={}) for record in source]
    flat = Answers(small(), lambda frames: frames[..., :1].astype(float))
    assert set(dict(SoundPlaces(plain).run(flat))) == {"places"}
    mixed = [plain[0], source[1], plain[2], source[3]]
    known = dict(SoundPlaces([source[1], source[3]]).run(flat))
    assert dict(SoundPlaces(mixed).run(flat))["mean"] == known["mean"]


def test_a_map_that_is_not_finite_is_no_answer():
    source = SyntheticSource(size=2, frames=16, height=32, width=32)
    broken = Answers(small(), lambda frames: np.full((len(frames), 4, 4, 1), np.nan))
    with pytest.raises(ValueError, match="the map 'map' is not finite"):
        list(SoundPlaces(source).run(broken))


def test_a_layer_that_is_no_map_is_named():
    source = SyntheticSource(size=2, frames=16, height=32, width=32)
    flat = Answers(small(), lambda frames: np.zeros((len(frames), 8)))
    with pytest.raises(ConfigError, match="layer='map' of map has the shape"):
        list(SoundPlaces(source).run(flat))
    method = small(layer="pool")
    batch = {"vision": jnp.zeros((1, 32, 32, 3)), "audio": jnp.zeros((1, 1, 61, 65))}
    with pytest.raises(ConfigError, match="layer='pool' is no map of the vision trunk; it has con"):
        jax.eval_shape(lambda: method.net.init(KEY, batch, train=True))


def test_half_of_the_joined_pairs_match_and_the_target_says_which():
    trunks = L3Net(width=0.0625), AudioNet(width=0.0625)
    method = Correspondence(*trunks, short_side=4, crop=4, criterion="concatenation")
    b = 64
    audio = jnp.arange(b, dtype=jnp.float32)[:, None, None] * jnp.ones((1, 1, 3))
    batch = {"vision": jnp.zeros((b, 4, 4, 3), jnp.uint8), "audio": audio}
    made = method.augment(batch, {}, KEY)
    own = made["audio"][:, 0, 0] == jnp.arange(b)
    np.testing.assert_array_equal(own, made["target"] == 1)
    others = made["audio"][:, 0, 0][~own]
    np.testing.assert_array_equal(others, (np.arange(b) - 1)[~np.asarray(own)] % b)
    assert 0.25 < made["target"].mean() < 0.75
    assert method.words(made)[""][:2] == [("no match", "match")[int(k)] for k in made["target"][:2]]


def test_the_pitch_of_a_synthetic_video_is_its_colours_where_that_is_asked_for():
    found = {}
    for record in SyntheticSource(size=40, frames=16, height=8, width=8, pitch="colour"):
        spectrum = np.abs(np.fft.rfft(record.audio(0.0, 1.0)))
        colour = record.captions[0].text.split()[1]
        found.setdefault(colour, set()).add(int(np.argmax(spectrum)))
    assert found == {"red": {300}, "green": {480}, "blue": {768}}
    with pytest.raises(ConfigError, match="pitch='size' must be one of shape, colour"):
        SyntheticSource(pitch="size")


@pytest.fixture
def optimised():
    """Here running takes longer than compiling."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_what_sounds_is_found_in_new_videos(tmp_path):
    config = configs.load("audio/localization_audioset.py:synthetic")
    config.steps = 80
    evaluator = configs.build(config.evaluators.places)
    config.evaluators = {}
    config.sharding.devices = 1
    fit(config, tmp_path / "run")
    found = dict(evaluator.run(load(tmp_path / "run")))
    assert found["mean"] > found["centre/mean"] + 0.01
    assert found["pointing"] > found["centre/pointing"] + 0.3
