"""CPC: its objective against sums over all negatives, its sizes, its batches, whether it learns."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from flax import linen as nn

from ssl_jax import config as configs
from ssl_jax.config import ConfigError
from ssl_jax.data.annotations import speaker_of
from ssl_jax.data.record import MediaError, Record
from ssl_jax.methods.audio.contrastive_prediction import ContrastivePrediction
from ssl_jax.methods.control import Control
from ssl_jax.models.gru import GRU
from ssl_jax.models.wave_encoder import WaveEncoder
from ssl_jax.objectives.contrastive_prediction import NEGATIVES, contrastive_prediction

CONFIG = "configs/audio/contrastive_prediction_librispeech.py"
STATIC = ("negatives", "mean", "local", "draws")
objective = jax.jit(contrastive_prediction, static_argnames=STATIC)
SPEAKERS = np.array([3, 7, 3, 3])


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# The objective


def rivals_of(kind: str, i: int, place: int, rows, steps: int):
    """Which latents (row, step) a prediction of row i that should pick `place` is told from."""
    meant = {"own": [i], "others": [j for j in rows if j != i], "batch": rows}
    meant["speaker"] = [j for j in rows if SPEAKERS[j] == SPEAKERS[i]]
    return [(j, s) for j in meant[kind] for s in range(steps) if (j, s) != (i, place)]


@pytest.mark.parametrize(
    ("kind", "local", "mean"), [*((kind, 0, False) for kind in NEGATIVES), ("batch", 2, True)]
)
def test_a_prediction_is_told_from_every_negative_of_its_kind(kind, local, mean):
    b, t, n, d = 4, 3, 2, 5
    predicted, latents = drawn(b, t, n, d), drawn(b, t + n, d, seed=1)
    losses, hits, below = [], [], [[], []]
    for i, step, k in np.ndindex(b, t, n):
        first = i // (local or b) * (local or b)
        rows = range(first, first + (local or b))
        place = step + k + 1
        scores = latents @ predicted[i, step, k] / (d if mean else 1)
        right = scores[i, place]
        others = [scores[one] for one in rivals_of(kind, i, place, rows, t + n)]
        losses.append(scipy.special.logsumexp([right, *others]) - right)
        hits.append(all(right > other for other in others))
        below[k].append(np.mean([other < right for other in others]) if others else 0)
    speakers = jnp.asarray(SPEAKERS) if kind == "speaker" else None
    loss, metrics = objective(
        predicted, latents, negatives=kind, mean=mean, local=local, speakers=speakers
    )
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(metrics["accuracy"]) == pytest.approx(np.mean(hits), abs=1e-6)
    for k in range(n):
        assert float(metrics[f"below_{k + 1}"]) == pytest.approx(np.mean(below[k]), abs=1e-6)


@pytest.mark.parametrize("kind", ["others", "speaker"])
def test_negatives_are_drawn_from_their_kind_and_never_the_right_one(kind):
    b, t, n, steps = 4, 6, 2, 8
    # Of equal scores the gradient is positive at the channels, one a latent, of what was drawn.
    latents = jnp.eye(b * steps).reshape(b, steps, b * steps)

    @jax.jit
    @jax.vmap
    def slopes(seeds):
        def loss(predicted):
            speakers = jnp.asarray(SPEAKERS)
            return contrastive_prediction(
                predicted, latents, kind, speakers=speakers, draws=64, seeds=seeds
            )[0]

        return jax.grad(loss)(jnp.zeros((b, t, n, b * steps)))

    found = np.asarray(slopes(jnp.arange(10 * b, dtype=jnp.uint32).reshape(10, b))).sum(0)
    for i, step, k in np.ndindex(b, t, n):
        place = step + k + 1
        # Any time but the right one, in whichever row.
        allowed = [(j, s) for j, s in rivals_of(kind, i, place, range(b), steps) if s != place]
        expected = {j * steps + s for j, s in allowed}
        assert set(np.flatnonzero(found[i, step, k] > 0)) == expected


def test_equal_scores_are_chance():
    zeros = jnp.zeros((4, 5, 2, 3)), jnp.zeros((4, 7, 3))
    seeds = jnp.arange(4, dtype=jnp.uint32)
    loss, metrics = objective(*zeros, draws=128, seeds=seeds)
    assert float(loss) == pytest.approx(4.8598, abs=5e-5)
    assert metrics["accuracy"] == 0
    assert metrics["below_1"] == metrics["below_2"] == 0.5


def test_groups_that_do_not_fit_are_refused():
    arrays = jnp.zeros((3, 4, 1, 2)), jnp.zeros((3, 5, 2))
    with pytest.raises(ConfigError, match="local=2 sequences that meet must divide the batch of 3"):
        contrastive_prediction(*arrays, local=2)
    with pytest.raises(ConfigError, match="'others' needs two sequences"):
        contrastive_prediction(*arrays, negatives="others", local=1)


# The network


def test_the_gru_is_flax_own_with_one_bias_more():
    x, gru = jnp.asarray(drawn(2, 5, 3)), GRU(4)
    shapes = jax.eval_shape(lambda: gru.init(jax.random.key(0), x))["params"]
    params = jax.tree.map(lambda p: jnp.asarray(drawn(*p.shape)), shapes)
    kernel, bias = params["input"]["kernel"], params["input"]["bias"]
    recurrent, second = params["recurrent_kernel"], params["recurrent_bias"]
    cell = {}
    for k, gate in enumerate("rzn"):
        part = slice(4 * k, 4 * k + 4)
        shift = bias[part] + (0 if gate == "n" else second[part])
        cell[f"i{gate}"] = {"kernel": kernel[:, part], "bias": shift}
        cell[f"h{gate}"] = {"kernel": recurrent[:, part]}
    cell["hn"]["bias"] = second[8:]
    expected = nn.RNN(nn.GRUCell(4)).apply({"params": {"cell": cell}}, x)
    found = gru.apply({"params": params}, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def paper(**audio) -> ContrastivePrediction:
    method = configs.load(CONFIG).method
    for name, value in audio.items():
        method.audio[name] = value
    return configs.build(method)


def test_the_paper_s_sizes():
    method = paper()
    (predicted, latents), made = jax.eval_shape(
        lambda: method.net.init_with_output(
            jax.random.key(0), {"audio": jnp.zeros((2, 20480))}, False
        )
    )
    assert predicted.shape == (2, 116, 12, 512)
    assert latents.shape == (2, 128, 512)
    counts = {
        name: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
        for name, tree in made["params"].items()
    }
    assert counts == {"audio": 5_250_560, "gru": 591_360, "predict": 1_572_864}
    assert sum(counts.values()) == 7_414_784
    assert paper(padding=(0,) * 5).audio.steps(20480) == 126


def test_steps_are_in_the_middle_of_what_they_hear():
    assert np.allclose(np.diff(paper().step_times("context")), 0.01)

    @functools.partial(jax.jit, static_argnums=0)
    def slope(encoder, x):
        params = jax.tree.map(jnp.ones_like, encoder.init(jax.random.key(0), x, False))
        return jax.grad(lambda x: encoder.apply(params, x, False)["conv5"][0, 6].sum())(x)

    for padding in ((0,) * 5, (3, 2, 1, 1, 1)):
        narrow = paper(padding=padding).audio.clone(channels=(2,) * 5)
        heard = np.flatnonzero(np.asarray(slope(narrow, jnp.ones((1, 2000)))[0]))
        assert narrow.middles(2000)[6] == pytest.approx((heard[0] + heard[-1]) / 2)


# The method


def tone(index: int, seconds: float = 1.0, **fields) -> Record:
    def audio(start, stop):
        return np.arange(round(start * 8000), round(stop * 8000)).astype(np.float32)

    return Record(
        f"tone {index}",
        index,
        0,
        0.0,
        audio=audio,
        sample_rate=8000,
        duration=seconds,
        **fields,
    )


def small(**knobs) -> ContrastivePrediction:
    encoder = WaveEncoder((4, 4), (10, 8), (5, 4), (0, 0), "none", "relu", True)
    few = {"audio": encoder, "samples": 400, "sample_rate": 8000, "ahead": 3, "width": 4}
    return ContrastivePrediction(**{**few, **knobs})


def test_windows_are_any_of_the_record_s_and_speakers_have_numbers():
    record = tone(0, extra={"speaker": "1034"})
    starts = set()
    for seed in range(30):
        views = small(negatives="speaker").views(record, np.random.default_rng(seed))
        wave = views["audio"]
        assert wave.shape == (400,)
        assert (np.diff(wave) == 1).all()
        assert 0 <= wave[0] <= 7600
        starts.add(float(wave[0]))
        assert views["speaker"] == speaker_of(record)
    assert len(starts) > 20
    assert max(starts) - min(starts) > 5000
    assert speaker_of(record) != speaker_of(tone(1, extra={"speaker": "1035"}))
    with pytest.raises(MediaError, match="tone 0: has no speaker"):
        small(negatives="speaker").views(tone(0), np.random.default_rng(0))
    with pytest.raises(MediaError, match=r"0\.05 s of audio are needed"):
        small().views(tone(0, 0.04), np.random.default_rng(0))


def test_what_comes_later_does_not_reach_a_prediction_or_the_context():
    method = small()
    audio = jnp.asarray(drawn(2, 400))
    variables = jax.jit(lambda: method.net.init(jax.random.key(0), {"audio": audio}, False))()

    @jax.jit
    def said(audio):
        return method.net.apply(variables, {"audio": audio}, False)[0]

    whole = said(audio)
    steps = whole.shape[1]
    # Step t hears samples up to 20 t + 44.
    for t in (0, steps // 2):
        changed = said(audio.at[:, 20 * t + 45 :].set(0.0))
        np.testing.assert_allclose(changed[:, : t + 1], whole[:, : t + 1], atol=1e-6)
        assert np.abs(changed[:, t + 1 :] - whole[:, t + 1 :]).max() > 1e-3
    with pytest.raises(ConfigError, match="of which ahead=30 are to be predicted"):
        jax.eval_shape(lambda: small(ahead=30).net.init(jax.random.key(0), {"audio": audio}, False))


def gliding(rows: int, seed: int) -> np.ndarray:
    """Tones in noise that glide evenly up or down, so that what comes next can be told."""
    rng = np.random.default_rng(seed)
    start, slope, phase, low = (
        rng.uniform(*between, (rows, 1))
        for between in ((0.0, 0.45), (-800, 800), (0, 6), (300, 1500))
    )
    times = start + np.arange(400) / 8000
    wave = np.sin(2 * np.pi * (low * times + slope * times**2 / 2) + phase)
    return (wave + 0.1 * rng.normal(size=wave.shape)).astype(np.float32)


@pytest.mark.slow
def test_what_comes_next_is_told_unless_it_belongs_to_other_sequences():
    # Without padding, whose steps a shuffled task can tell by their place.
    encoder = WaveEncoder((16, 16), (10, 8), (5, 4), (0, 0), "layer", "relu", True)
    method, rows = small(audio=encoder, width=16), 16
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 100))

    @jax.jit
    def loss(params, batch):
        outputs = method.net.apply({"params": params}, batch, True)
        return method.objective(outputs, batch)

    @jax.jit
    def step(params, moments, batch):
        gradient = jax.grad(lambda params: loss(params, batch)[0])(params)
        change, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(params, change), moments

    def trained(task) -> tuple[float, dict]:
        """Nats below a guess, and metrics, on new sequences; the task has the targets."""
        params = jax.jit(lambda: method.init_net(jax.random.key(0), batch_of(method, 0)))()
        params = params["params"]
        moments = optimizer.init(params)
        for number in range(100):
            params, moments = step(params, moments, batch_of(task, number))
        found = [loss(params, batch_of(task, 1000 + number)) for number in range(8)]
        mean = jax.tree.map(lambda *values: float(np.mean(values)), *found)
        return math.log(rows * method.audio.steps(400)) - mean[0], mean[1]

    def batch_of(task, number: int) -> dict:
        batch = {"audio": jnp.asarray(gliding(rows, number))}
        return task.augment(batch, {}, jax.random.key(number))

    learnt, metrics = trained(method)
    assert learnt > 1.5
    # What comes sooner is told better.
    assert metrics["below_1"] > metrics["below_3"] > 0.9
    shuffled, metrics = trained(Control(method, ("target",)))
    assert shuffled < 0.02
    assert metrics["below_1"] == pytest.approx(0.5, abs=0.05)
