"""wav2vec 2.0: masks by their statistics, distractors, quantiser, the loss by its definition."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_jax import config as configs
from ssl_jax.config import ConfigError, call
from ssl_jax.data.record import MediaError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.method import run_collection
from ssl_jax.methods.audio.masked_contrast import MaskedContrast
from ssl_jax.methods.control import Control
from ssl_jax.models.gumbel_quantizer import GumbelQuantizer
from ssl_jax.models.transformer import Transformer
from ssl_jax.models.wav2vec import Wav2Vec
from ssl_jax.models.wave_encoder import WaveEncoder
from ssl_jax.objectives.masked_contrast import code_diversity, masked_contrast
from ssl_jax.ops.masking import expected_share, masked_places, others, span_masks

CONFIG = "configs/audio/masked_contrast_librispeech.py:tiny"
KEY = jax.random.key(0)
ROWS = 4000


# Masks


def statistics(masked) -> tuple[float, float]:
    """The share that is masked, and the mean length of runs."""
    beginnings = np.diff(np.pad(np.asarray(masked, int), ((0, 0), (1, 0))), axis=1) == 1
    return float(np.mean(masked)), float(np.sum(masked) / beginnings.sum())


def as_defined(rng, rows: int, steps: int) -> np.ndarray:
    """Spans of 10 one by one, from starts without replacement."""
    masked = np.zeros((rows, steps), bool)
    for row in masked:
        count = max(2, int(0.65 * steps / 10 + rng.random()))
        for start in rng.choice(steps - 10, count, replace=False):
            row[start : start + 10] = True
    return masked


def drawn(where: str, rows: int, steps: int) -> np.ndarray:
    lengths = np.full(rows, steps)
    if where == "host":
        return span_masks(np.random.default_rng(0), lengths, steps)
    return np.asarray(jax.jit(span_masks, static_argnums=2)(KEY, jnp.asarray(lengths), steps))


@pytest.mark.parametrize("where", ["host", "device"])
def test_masks_have_the_papers_statistics(where):
    share, run = statistics(drawn(where, ROWS, 781))
    expected, expected_run = statistics(as_defined(np.random.default_rng(1), 1000, 781))
    assert share == pytest.approx(expected, abs=0.002)
    assert share == pytest.approx(0.48936, abs=0.003)
    assert run == pytest.approx(expected_run, abs=0.1)
    assert run == pytest.approx(14.65, abs=0.15)
    assert expected_share() == pytest.approx(0.48936, abs=5e-6)


def test_padding_is_never_masked_and_short_rows_have_their_own_share():
    lengths = np.array([10, 11, 12, 40, 100] * 500)
    masked = span_masks(np.random.default_rng(2), lengths, 100)
    assert not masked[np.arange(100) >= lengths[:, None]].any()
    counts = masked.sum(1).reshape(-1, 5)
    assert (counts[:, 0] == 0).all()  # a span and no choice
    assert (counts[:, 1] == 10).all()
    assert set(counts[:, 2]) == {11}  # both starts there are
    alone = as_defined(np.random.default_rng(3), 3000, 40)
    assert counts[:, 3].mean() == pytest.approx(alone.sum(1).mean(), rel=0.05)


def test_places_are_masked_steps_in_random_order_and_distractors_are_others_of_them():
    masked = jnp.asarray(drawn("host", 200, 49))
    places, counted = map(np.asarray, masked_places(KEY, masked, 24))
    for row, own, there in zip(np.asarray(masked), places, counted, strict=True):
        assert there.sum() == min(row.sum(), 24)
        assert there[: there.sum()].all()
        assert row[own[there]].all()
        assert len(set(own)) == 24
    assert (np.diff(places[counted.all(1)]) < 0).mean() == pytest.approx(0.5, abs=0.03)
    counts = jnp.array([24, 5, 2, 1])
    found = np.asarray(others(KEY, counts, 24, 300))
    for row, count in zip(found, [24, 5, 2], strict=False):
        for place in range(count):
            assert set(row[place]) == set(range(count)) - {place}
    assert (found[3, 0] == 0).all()  # there is no other: the same vector, which the loss leaves out
    shares = np.bincount(found[1, 2], minlength=5) / 300
    np.testing.assert_allclose(shares, [0.25, 0.25, 0, 0.25, 0.25], atol=0.08)


# The objective


def as_summed(context, targets, rivals, counted, temperature=0.1):
    """The loss and the share of hits, one masked step after another."""

    def cosine(a, b):
        return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))

    losses, hits = [], []
    for row, step in zip(*np.nonzero(counted), strict=True):
        own = targets[row, step]
        scores = [cosine(context[row, step], own) / temperature]
        for other in rivals[row, step]:
            if not (targets[row, other] == own).all():
                scores.append(cosine(context[row, step], targets[row, other]) / temperature)
        losses.append(np.log(np.exp(scores).sum()) - scores[0])
        hits.append(len(scores) > 1 and scores[0] > max(scores[1:]))
    return sum(losses), np.mean(hits)


def test_the_loss_is_the_sum_over_masked_steps():
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 3, (3, 7, 2))
    targets = rng.normal(size=(3, 3, 5))[codes[..., 0], codes[..., 1]]
    context = rng.normal(size=(3, 7, 5))
    counted = np.arange(7) < np.array([7, 4, 1])[:, None]
    rivals = np.asarray(others(KEY, jnp.asarray(counted.sum(1)), 7, 6))
    arguments = jax.tree.map(jnp.float32, (context, targets))
    others_of = jnp.asarray(codes), jnp.asarray(rivals), jnp.asarray(counted)
    loss, metrics = masked_contrast(*arguments, *others_of)
    expected, hits = as_summed(context, targets, rivals, counted)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["accuracy"]) == pytest.approx(hits)
    gone = jax.tree.map(lambda x: jnp.where(counted[..., None], x, 99.0), arguments)
    assert float(masked_contrast(*gone, *others_of)[0]) == float(loss)


def test_the_golden_step_and_a_collapse():
    context, target = jnp.array([[[1.0, 0]] * 3]), jnp.array([[[0.8, 0.6], [0, 1], [-1, 0]]])
    codes, rivals = jnp.array([[[0], [1], [2]]]), jnp.array([[[1, 2], [0, 0], [0, 0]]])
    first = jnp.array([[True, False, False]])
    loss, metrics = masked_contrast(context, target, codes, rivals, first)
    assert float(loss) == pytest.approx(3.354e-4, rel=1e-3)
    assert float(metrics["accuracy"]) == 1.0
    same = jnp.ones((1, 3, 2)), jnp.zeros((1, 3, 1), int)

    def collapsed(context):
        return masked_contrast(context, *same, rivals, first)

    (loss, metrics), gradient = jax.jit(jax.value_and_grad(collapsed, has_aux=True))(context)
    assert float(loss) == 0.0
    assert (float(metrics["accuracy"]), float(metrics["equal"])) == (0.0, 1.0)
    assert np.isfinite(gradient).all()


def test_no_accelerator_may_round_what_is_compared():
    """The cosines, which a temperature of .1 magnifies, and the logits of the quantiser."""
    vectors, codes = jnp.ones((1, 3, 4)), jnp.zeros((1, 3, 2), int)
    found = jax.jit(masked_contrast).lower(*[vectors] * 2, codes, codes, jnp.ones((1, 3), bool))
    quantizer = GumbelQuantizer(groups=2, entries=3, out=4)
    params = {"params": {"logits": {"kernel": jnp.ones((4, 6)), "bias": jnp.ones(6)}}}
    params["params"]["codebooks"] = jnp.ones((2, 3, 2))
    chosen = jax.jit(lambda x: quantizer.apply(params, x, False)).lower(vectors)
    for lowered in (found, chosen):
        products = [line for line in lowered.as_text().splitlines() if "dot_general" in line]
        assert products
        assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


def test_diversity_of_even_and_of_single_codes():
    counted = jnp.ones((1, 640), bool)
    even, used = code_diversity(jnp.zeros((1, 640, 2, 320)), counted)
    assert float(even) == pytest.approx(0.0, abs=5e-5)
    assert float(used["perplexity"]) == pytest.approx(639.98, abs=0.01)
    one, used = code_diversity(jnp.zeros((1, 640, 2, 320)).at[..., 7].set(99.0), counted)
    assert float(one) == pytest.approx(0.996875, abs=1e-6)
    assert float(used["perplexity"]) == pytest.approx(2.0, abs=1e-5)
    assert float(used["code_perplexity"]) == pytest.approx(2.0, abs=1e-5)
    # Half of the steps have one code, half another; a step that does not count has a third.
    logits = jnp.array([[[[9.0, 0, 0]], [[0, 9.0, 0]], [[0, 0, 9.0]]]])
    _, used = code_diversity(logits, jnp.array([[True, True, False]]))
    assert float(used["code_perplexity"]) == pytest.approx(2.0, abs=1e-5)


# The quantiser


class Noise(nn.Module):
    """What a module draws that is called with the same keys."""

    @nn.compact
    def __call__(self, shape):
        return jax.random.gumbel(self.make_rng("dropout"), shape)


def test_the_quantiser_is_hard_in_training_and_its_gradient_soft():
    quantizer = GumbelQuantizer(groups=2, entries=5, out=6)
    x = jax.random.normal(KEY, (400, 8))
    params = quantizer.init({"params": KEY, "dropout": KEY}, x, True)
    books = np.asarray(params["params"]["codebooks"])

    @functools.partial(jax.jit, static_argnums=1)
    def call(x, train, seed=1):
        rngs = {"dropout": jax.random.key(seed)} if train else {}
        return quantizer.apply(params, x, train, 2.0, rngs=rngs)

    found, logits, codes = call(x, True)
    entries = np.concatenate([books[0][codes[:, 0]], books[1][codes[:, 1]]], axis=1)
    np.testing.assert_array_equal(found, entries)
    assert (np.asarray(codes) != np.asarray(logits).argmax(-1)).any()
    # Drawn by softmax(logits): over many draws of the same vector.
    _, logits, codes = jax.vmap(lambda seed: call(x[:1], True, seed))(jnp.arange(4000))
    logits, codes = logits[0], codes[:, 0]
    shares = np.bincount(np.asarray(codes)[:, 0], minlength=5) / 4000
    np.testing.assert_allclose(shares, jax.nn.softmax(logits[0, 0]), atol=0.03)
    still, logits, codes = call(x, False)
    np.testing.assert_array_equal(codes, np.asarray(logits).argmax(-1))
    np.testing.assert_array_equal(still, call(x, False, 2)[0])
    # The gradient is that of the mixture of entries at this temperature.
    rngs = {"dropout": jax.random.key(1)}
    noise = Noise().apply({}, (400, 2, 5), rngs=rngs)
    head, weights = params["params"]["logits"], jax.random.normal(jax.random.key(2), (400, 6))

    def mixed(x, temperature):
        logits = (x @ head["kernel"] + head["bias"]).reshape(400, 2, 5)
        shares = jax.nn.softmax((logits + noise) / temperature)
        parts = [shares[:, group] @ books[group] for group in range(2)]
        return jnp.sum(weights * jnp.concatenate(parts, axis=1))

    def drawn(params, x, temperature):
        return jnp.sum(weights * quantizer.apply(params, x, True, temperature, rngs=rngs)[0])

    gradients = jax.jit(lambda t: (*jax.grad(drawn, (0, 1))(params, x, t), jax.grad(mixed)(x, t)))
    for temperature in (2.0, 0.5):
        by_params, by_x, expected = gradients(temperature)
        np.testing.assert_allclose(by_x, expected, rtol=1e-3, atol=1e-5)
        # Of the entries themselves it is that of the hard choice.
        sums = np.zeros_like(books)
        codes = np.asarray(call(x, True)[2])
        for group in range(2):
            np.add.at(sums[group], codes[:, group], weights[:, 3 * group : 3 * group + 3])
        np.testing.assert_allclose(by_params["params"]["codebooks"], sums, rtol=1e-4, atol=1e-4)


# The method


def quickly(function):
    """Compiled, for few calls: it had better compile than run quickly."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def experiment():
    return configs.build(configs.load(CONFIG))


@pytest.fixture(scope="module")
def begun():
    """The tiny method, its variables, a batch, and its compiled loss in evaluation."""
    method = experiment().method
    views = [method.views(experiment().source[k], np.random.default_rng(k)) for k in range(3)]
    batch = {name: np.stack([view[name] for view in views]) for name in views[0]}
    shapes = jax.eval_shape(lambda b: method.init(KEY, b, 3), batch)
    rng = np.random.default_rng(5)
    params = jax.tree.map(lambda x: jnp.float32(0.4 * rng.standard_normal(x.shape)), shapes)
    state = run_collection(0, 4)

    def outcome(puzzle):
        outputs, _ = method.outputs(params["params"], state, puzzle, KEY, train=False)
        return method.objective(outputs, puzzle), outputs

    return method, {**params, **state}, batch, quickly(outcome)


def test_what_is_padded_is_left_out_of_the_loss(begun):
    method, variables, batch, outcome = begun
    batch = {**batch, "samples": np.array([8000, 5200, 6400], np.int32)}
    behind = np.arange(8000) >= batch["samples"][:, None]
    batch["audio"] = np.where(behind, 0, batch["audio"]).astype(np.float32)
    puzzle = quickly(method.augment)(batch, variables, KEY)
    steps = np.asarray(method.audio.steps(batch["samples"]))
    assert not (np.asarray(puzzle["masked"]) & (np.arange(24) >= steps[:, None])).any()
    counted = np.asarray(puzzle["counted"])
    assert (np.asarray(puzzle["hidden"])[counted] < np.repeat(steps, counted.sum(1))).all()
    (loss, metrics), outputs = outcome(puzzle)
    louder = {**puzzle, "audio": jnp.where(behind, 5.0, puzzle["audio"])}
    assert float(outcome(louder)[0][0]) == pytest.approx(float(loss), rel=1e-6)
    # Without any padding the same vectors are compared.
    alone = {k: v[1:2] for k, v in puzzle.items()}
    alone["audio"] = alone["audio"][:, :5200]
    alone["masked"] = alone["masked"][:, : steps[1]]
    (short, _), own = outcome(alone)
    there = counted[1]
    padded = jax.tree.map(lambda x: x[1:2], (outputs, puzzle))
    assert float(short) == pytest.approx(float(quickly(method.objective)(*padded)[0]), rel=1e-4)
    for name in ("context", "targets"):
        np.testing.assert_allclose(own[name][0][there], outputs[name][1][there], atol=2e-5)
    np.testing.assert_allclose(own["squares"][0], outputs["squares"][1], rtol=1e-4)
    total, _ = masked_contrast(
        *(outputs[name] for name in ("context", "targets", "codes")),
        puzzle["others"],
        puzzle["counted"],
    )
    contrast = float(total) / counted.sum()
    squares = float(outputs["squares"].sum() / steps.sum())
    expected = contrast + 0.1 * float(metrics["diversity"]) + 10 * squares
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["masked"]) == pytest.approx(puzzle["masked"].sum() / steps.sum())
    best = configs.load(CONFIG.partition(":")[0]).checkpoints.keep_best
    assert best.removeprefix("-pretext/") in metrics


def test_means_need_no_lengths(begun):
    method, variables, batch, _ = begun
    encode = functools.partial(jax.eval_shape, lambda x: method.encode(variables, "means", x))
    waves = {"audio": batch["audio"]}
    assert encode(waves) == encode({**waves, "samples": batch["samples"]})


def test_views_cut_long_records_and_pad_short_ones():
    method = experiment().method
    record = SyntheticSource(size=1, frames=16)[0]
    rng = np.random.default_rng(0)
    short = method.views(record, rng)
    count = round(record.duration * 8000)
    longest = min(count, 8000)
    assert short["samples"] == longest
    assert short["audio"].shape == (8000,)
    assert not short["audio"][longest:].any()
    with pytest.raises(MediaError, match="of audio are needed"):
        method.views(SyntheticSource(size=1, frames=2)[0], rng)
    with pytest.raises(ConfigError, match="leaves no choice"):
        configs.build(call(type(method), audio=configs.load(CONFIG).method.audio, shortest=900))


def test_a_collapse_is_told_in_one_line():
    method = experiment().method
    line = method.worry({"perplexity": 2.0001, "loss": 0.1})
    assert "collapsed" in line
    assert "\n" not in line
    assert method.worry({"perplexity": 2.4, "loss": 0.1}) == ""


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 2.0), (100_000, 2.0 * math.exp(-0.5)), (300_000, 0.5)]
)
def test_the_temperature_falls_with_the_steps(step, expected):
    net = experiment().method.net
    found = net.apply(run_collection(step, 400_000), method="temperature")
    assert float(found) == pytest.approx(expected, rel=1e-4)


# Whether it learns


def glides(rows: int, seed: int) -> np.ndarray:
    """Tones in noise that glide evenly up or down: what is masked follows from what is not."""
    rng = np.random.default_rng(seed)
    slope, phase, low = (
        rng.uniform(*between, (rows, 1)) for between in ((-2500, 2500), (0, 6), (900, 2000))
    )
    times = np.arange(1600) / 8000
    wave = np.sin(2 * np.pi * (low * times + slope * times**2 / 2) + phase)
    return (wave + 0.1 * rng.normal(size=wave.shape)).astype(np.float32)


@pytest.mark.slow
def test_what_is_masked_is_found_by_what_surrounds_it_and_not_from_another_row():
    encoder = WaveEncoder((32, 32), (10, 8), (5, 4), (0, 0), "layer", "relu", True)
    transformer = Transformer(blocks=2, heads=2, hidden=64)
    convolved = {"position_taps": 8, "position_groups": 2, "encoder_gradient": 1.0, "dropout": 0.0}
    method = MaskedContrast(
        Wav2Vec(encoder, transformer, width=32, **convolved),
        **{"samples": 1600, "shortest": 1600, "sample_rate": 8000, "span": 4, "distractors": 10},
        **{"entries": 16, "out": 16, "noise": (1.0, 0.5, 0.98), "penalty": 0.1, "dropout": 0.0},
    )
    rows, steps = 16, 150
    optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, steps))

    def puzzles(task):
        return jax.jit(lambda batch, number: task.augment(batch, {}, jax.random.key(number)))

    def puzzle_of(task, number: int) -> dict:
        samples = np.full(rows, 1600, np.int32)
        return task({"audio": glides(rows, number), "samples": samples}, number)

    def loss(params, puzzle, number):
        state = run_collection(number, steps)
        outputs, _ = method.outputs(params, state, puzzle, jax.random.key(number), train=True)
        return method.objective(outputs, puzzle)

    @jax.jit
    def step(params, moments, puzzle, number):
        (_, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params, puzzle, number)
        change, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(params, change), moments, metrics

    def trained(task) -> float:
        """The contrastive loss of new recordings, over the last steps."""
        batch = puzzle_of(puzzles(method), 0)
        params = jax.jit(lambda: method.init(KEY, batch, rows))()["params"]
        moments, found = optimizer.init(params), []
        puzzle = puzzles(task)
        for number in range(steps):
            params, moments, metrics = step(params, moments, puzzle_of(puzzle, number), number)
            found.append(float(metrics["contrast"]))
        return np.mean(found[-10:])

    learnt = trained(method)
    assert learnt < math.log(11) - 0.2
    assert learnt < trained(Control(method, ("target",))) - 0.15
