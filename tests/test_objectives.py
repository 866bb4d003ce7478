"""Objectives against slow loops, published numbers, and the same batch spread over devices."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ssl_jax.objectives import contrastive
from ssl_jax.objectives.classification import classification
from ssl_jax.objectives.order import ORDERS_UP_TO_REVERSAL, class_up_to_reversal, permutations

# Compiled once a shape, instead of every operation by itself.
nt_xent = jax.jit(contrastive.nt_xent)
info_nce = jax.jit(contrastive.info_nce, static_argnames=("symmetric", "cosine"))
cross_and_learn = jax.jit(contrastive.cross_and_learn, static_argnames="weight")
match = jax.jit(contrastive.match)

A1, A2 = [[1.0, 0], [0, 1]], [[0.8, 0.6], [-0.6, 0.8]]
B1, B2 = (
    [[1.0, 2, 3], [-1, 0, 2], [0.5, -1, 1]],
    [[1, 2, 2.5], [-2, 1, 2], [1, -1, 0]],
)
C1, C2 = [[1.0, 0], [0, 1], [1, 1], [-1, 2]], [[0.8, 0.6], [-0.6, 0.8], [1, 0.5], [-1, 1]]


def array(values) -> jax.Array:
    return jnp.asarray(values, jnp.float32)


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def spread(devices: int, *arrays: jax.Array) -> list[jax.Array]:
    """The arrays with their rows split over the first devices."""
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
    )
    return jax.device_put(arrays, NamedSharding(mesh, PartitionSpec("data")))


def cosines(a, b) -> np.ndarray:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))


def slow_nt_xent(z1, z2, temperature) -> list[float]:
    z = np.concatenate([z1, z2])
    n, s = len(z1), cosines(z, z) / temperature
    return [
        math.log(sum(math.exp(s[i, j]) for j in range(2 * n) if j != i)) - s[i, (i + n) % (2 * n)]
        for i in range(2 * n)
    ]


# Classification and orders


def test_classification_against_a_slow_loop():
    logits, labels = np.asarray(normal(0, 3, 4, 5)), np.arange(12).reshape(3, 4) % 5
    losses, hits = [], []
    for row, label in zip(logits.reshape(-1, 5), labels.ravel(), strict=True):
        losses.append(-math.log(math.exp(row[label]) / sum(math.exp(v) for v in row)))
        hits.append(np.argmax(row) == label)
    loss, metrics = classification(array(logits), jnp.asarray(labels))
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(np.mean(hits))


def test_classification_of_equal_logits_is_log_k_and_huge_ones_are_finite():
    labels = jnp.array([0, 3])
    loss, _ = classification(jnp.zeros((2, 12), jnp.bfloat16), labels)
    assert loss.dtype == jnp.float32
    assert loss == pytest.approx(2.4849066)
    loss, metrics = classification(array([[1e4, 0, 0, 0], [0, 0, 0, 1e4]]), labels)
    assert (loss, metrics["accuracy"]) == (0, 1)


def test_chance_of_every_pretext_task():
    nats = {2: 0.693147, 4: 1.386294, 8: 2.079442, 10: 2.302585, 50: 3.912023, 100: 4.605170}
    nats |= {313: 5.746203, 504: 6.222576, 701: 6.552508, 1000: 6.907755, 2000: 7.600902}
    nats |= {8000: 8.987197}
    for classes, expected in nats.items():
        loss, _ = classification(jnp.zeros((1, classes)), jnp.array([classes - 1]))
        assert loss == pytest.approx(expected, abs=1e-6)


def test_opn_has_one_class_for_each_order_and_its_reverse():
    table = set(ORDERS_UP_TO_REVERSAL)
    reversed_table = {order[::-1] for order in table}
    assert len(ORDERS_UP_TO_REVERSAL) == len(table) == 12
    assert not table & reversed_table
    assert table | reversed_table == set(itertools.permutations(range(4)))
    assert table == {p for p in itertools.permutations(range(4)) if p.index(0) < p.index(3)}
    for number, order in enumerate(ORDERS_UP_TO_REVERSAL):
        assert class_up_to_reversal(order) == class_up_to_reversal(order[::-1]) == number
    assert class_up_to_reversal((2, 0, 3, 1)) == 10
    published = "1234 1324 1342 1243 1423 1432 2134 2143 2314 3124 3142 3214"
    assert published.split() == ["".join(str(f + 1) for f in o) for o in ORDERS_UP_TO_REVERSAL]
    with pytest.raises(ValueError, match="not an order of the frames"):
        class_up_to_reversal((0, 1, 2, 2))


def test_vcop_numbers_the_orders_of_three_clips():
    assert permutations(3) == ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    inverses = [tuple(np.argsort(order)) for order in permutations(3)]
    swapped = [k for k in range(6) if inverses[k] != permutations(3)[k]]
    assert swapped == [3, 4]
    assert len(permutations(4)) == 24


# NT-Xent


@pytest.mark.parametrize(
    ("z1", "z2", "temperature", "expected"),
    [
        (A1, A2, 0.5, 0.4301902771),
        (A1, A2, 1.0, 0.6735767889),
        (A1, A2, 0.1, 0.0637798398),
        (B1, B2, 0.5, 0.7613958699),
        (B1, B2, 0.2, 0.2542831010),
        (B1, B2, 0.1, 0.0444447848),
        (C1, C2, 0.5, 1.3956160826),
    ],
)
def test_nt_xent_has_the_papers_mean_over_both_views(z1, z2, temperature, expected):
    loss, _ = nt_xent(array(z1), array(z2), temperature)
    assert loss == pytest.approx(expected, abs=2e-6)
    assert np.mean(slow_nt_xent(z1, z2, temperature)) == pytest.approx(expected, abs=1e-9)


def test_rows_of_nt_xent_and_the_authors_sum_of_both_halves():
    rows = slow_nt_xent(A1, A2, 0.5)
    np.testing.assert_allclose(rows, [0.233257497, 0.6271230573, 0.6271230573, 0.233257497])
    rows = slow_nt_xent(B1, B2, 0.5)
    golden = [0.7767417427, 0.9304525927, 0.9610597645, 0.7214420551, 0.7636961386, 0.4149829256]
    np.testing.assert_allclose(rows, golden, rtol=1e-9)
    # Their code adds the means of both halves: twice what is computed here.
    loss, _ = nt_xent(array(A1), array(A2), 0.5)
    assert 2 * loss == pytest.approx(0.8603805543, abs=4e-6)


def test_nt_xent_gradient():
    gradient = jax.grad(lambda z: nt_xent(z, array(A2), 0.5)[0])(array(A1))
    np.testing.assert_allclose(gradient, [[0, -0.02978539], [0.62247071, 0]], atol=1e-6)
    # Through both sides: against differences of the slow loop.
    z1, z2 = np.asarray(normal(1, 3, 4), np.float64), np.asarray(normal(2, 3, 4), np.float64)
    gradient = jax.grad(lambda z: nt_xent(array(z1), z, 0.5)[0])(array(z2))
    for i, j in itertools.product(range(3), range(4)):
        step = np.zeros_like(z2)
        step[i, j] = 1e-5
        up, down = (np.mean(slow_nt_xent(z1, z2 + s, 0.5)) for s in (step, -step))
        assert gradient[i, j] == pytest.approx((up - down) / 2e-5, abs=1e-5)


@pytest.mark.parametrize(("n", "expected"), [(2, 1.098612), (256, 6.236370), (4096, 9.010791)])
def test_collapsed_embeddings_give_log_of_all_others(n, expected):
    loss, _ = nt_xent(jnp.ones((n, 3)), jnp.full((n, 3), 2.0), 0.1)
    assert loss == pytest.approx(math.log(2 * n - 1), rel=1e-5)
    assert loss == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("n", "temperature", "expected"),
    [
        (2, 0.5, 0.2395447662),
        (4, 0.5, 0.5944376642),
        (256, 0.5, 4.2487951178),
        (256, 0.1, 0.0228899783),
    ],
)
def test_equal_views_orthogonal_to_all_others(n, temperature, expected):
    loss, metrics = nt_xent(jnp.eye(n), 3 * jnp.eye(n), temperature)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert metrics["contrastive_accuracy"] == 1


def test_nt_xent_invariances_and_accuracy():
    z1, z2 = normal(3, 6, 5), normal(4, 6, 5)
    loss, metrics = nt_xent(z1, z2, 0.3)
    order = jnp.array([3, 1, 5, 0, 2, 4])
    lengths = jnp.arange(1.0, 7.0)[:, None]
    for other in ((z2, z1), (z1[order], z2[order]), (z1 * lengths, z2 / lengths)):
        assert nt_xent(*other, 0.3)[0] == pytest.approx(float(loss), rel=1e-5)
    hits = cosines(z1, z2).argmax(1) == np.arange(6)
    assert metrics["contrastive_accuracy"] == pytest.approx(hits.mean())
    # Rows of A1 are nearest to 0.8, 0.6 and to -0.6, 0.8: their own.
    assert nt_xent(array(A1), array(A2), 0.5)[1]["contrastive_accuracy"] == 1
    assert nt_xent(array(A1), array(A2)[::-1], 0.5)[1]["contrastive_accuracy"] == 0


# InfoNCE

S = array([[2, 1, 0], [0, 3, 1], [1, -1, 1]])


def test_info_nce_of_given_similarities():
    for symmetric, expected in ((False, 0.445359), (True, 0.458101)):
        loss, metrics = info_nce(S, jnp.eye(3), symmetric=symmetric, cosine=False)
        assert loss == pytest.approx(expected, abs=2e-6)
        assert metrics["accuracy"] == pytest.approx(2 / 3)  # the last row's tie goes to the first
    loss, _ = info_nce(jnp.eye(3), S, symmetric=False, cosine=False)
    assert loss == pytest.approx(0.470844, abs=2e-6)


def test_info_nce_of_unit_vectors():
    v, a = array([[1, 0], [0.6, 0.8]]), array([[0.8, 0.6], [0, 1]])
    loss, _ = info_nce(v, a, 0.07)
    assert loss == pytest.approx(1.191290, abs=1e-5)
    longer, _ = info_nce(7 * v, a / 3, 0.07)
    assert longer == pytest.approx(float(loss), rel=1e-5)
    same, _ = info_nce(jnp.ones((4, 2)), jnp.ones((4, 2)), 0.1)
    assert same == pytest.approx(1.386294, abs=1e-5)


def test_info_nce_with_further_keys_against_a_slow_loop():
    queries, keys, extra = normal(5, 4, 3), normal(6, 4, 3), normal(7, 4, 2, 3)
    s, more = cosines(queries, keys) / 0.2, []
    for i in range(4):
        more.append(cosines(queries[i : i + 1], extra[i])[0] / 0.2)
    rows = [np.log(np.exp([*s[i], *more[i]]).sum()) - s[i, i] for i in range(4)]
    columns = [np.log(np.exp(s[:, j]).sum()) - s[j, j] for j in range(4)]
    loss, _ = info_nce(queries, keys, 0.2, symmetric=False, extra=extra)
    assert loss == pytest.approx(np.mean(rows), rel=1e-5)
    loss, _ = info_nce(queries, keys, 0.2, extra=extra)
    assert loss == pytest.approx((np.mean(rows) + np.mean(columns)) / 2, rel=1e-5)
    none, _ = info_nce(queries, keys, 0.2, extra=extra[:, :0])
    assert none == pytest.approx(float(info_nce(queries, keys, 0.2)[0]))


# Over devices


@pytest.mark.parametrize("objective", [nt_xent, info_nce])
def test_a_batch_over_eight_devices_has_the_same_loss_and_gradient(objective):
    a, b = normal(8, 16, 4), normal(9, 16, 4)
    both = jax.jit(jax.value_and_grad(lambda a, b: objective(a, b, 0.5)[0], argnums=(0, 1)))
    alone, alone_gradients = both(a, b)
    loss, gradients = both(*spread(8, a, b))
    assert loss == pytest.approx(float(alone), rel=1e-5)
    for found, expected in zip(gradients, alone_gradients, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert np.abs(expected).max() > 1e-3


def test_devices_see_one_anothers_negatives():
    loss, _ = jax.jit(lambda a, b: nt_xent(a, b, 0.5))(*spread(2, array(C1), array(C2)))
    assert loss == pytest.approx(1.3956160826, abs=2e-6)
    # What two devices that keep to their own rows would get.
    halves = [nt_xent(array(C1[h]), array(C2[h]), 0.5)[0] for h in (slice(2), slice(2, 4))]
    assert sum(halves) / 2 == pytest.approx(0.3565824434, abs=2e-6)


# Cross and Learn, AVE-Net


def test_cross_and_learn():
    vectors = [array([v]) for v in ([1, 0, 2], [1, 1, 2], [0, 3, 1], [0, 1, 0])]
    r1, f1, r2, f2 = vectors
    loss, metrics = cross_and_learn(r1, f1, r2, f2)
    assert loss == pytest.approx(-0.585211, abs=1e-6)
    assert metrics["cross"] == pytest.approx(1 - (0.912854 + 0.948631) / 2, abs=1e-6)
    assert metrics["div"] == pytest.approx((0.282838 + 0.408224) / 2 - 1, abs=1e-6)
    assert cross_and_learn(r2, f2, r1, f1)[0] == pytest.approx(float(loss))
    assert cross_and_learn(*vectors, weight=1.0)[0] == pytest.approx(2 * float(metrics["cross"]))
    assert cross_and_learn(*vectors, weight=0.0)[0] == pytest.approx(2 * float(metrics["div"]))


def test_cross_and_learn_at_its_ends():
    x, y = array([[3, 0], [0, 2]]), array([[0, 2], [3, 0]])
    assert cross_and_learn(x, x, y, y)[0] == pytest.approx(-1, abs=1e-4)
    assert cross_and_learn(x, y, x, y)[0] == pytest.approx(1, abs=1e-4)
    assert cross_and_learn(x, x, x, x)[0] == pytest.approx(0, abs=1e-6)


def test_match_is_ave_nets_two_way_softmax():
    v, a = array([[1, 0]]), array([[3, 4]])  # at distance 0.894427 once of length 1
    # Two logits with weights -0.709, 0.709 and biases 1.2186, -1.2186 differ by these.
    scale, bias = array(2 * 0.709), array(2 * 1.2186)
    loss, metrics = match(v, a, a, scale, bias)
    assert loss == pytest.approx((0.270567 + 1.439470) / 2, abs=1e-5)
    assert metrics["accuracy"] == 0.5  # called a match both times
    loss, metrics = match(v, a, -v, scale, bias)
    mismatch = -math.log(1 - 1 / (1 + math.exp(2 * 0.709 * 2 - 2 * 1.2186)))
    assert loss == pytest.approx((0.270567 + mismatch) / 2, abs=1e-5)
    assert metrics["accuracy"] == 1


# All of them


@jax.jit
def every_objective(a, b):
    """Every contrastive objective of two batches of embeddings."""
    return {
        "nt_xent": nt_xent(a, b, 0.1)[0],
        "info_nce": info_nce(a, b, 0.1, extra=a[:, None])[0],
        "cross_and_learn": cross_and_learn(a, b, b, a)[0],
        "match": match(a, b, b, jnp.float32(1), jnp.float32(1))[0],
    }


def test_gradients_are_finite_at_zero_and_at_equal_vectors():
    def total(a, b):
        return sum(every_objective(a, b).values())

    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))
    for vectors in (jnp.zeros((3, 4)), jnp.ones((3, 4)), normal(0, 3, 4).at[1].set(0)):
        assert all(np.isfinite(g).all() for g in gradients(vectors, vectors))


def test_bfloat16_embeddings_are_compared_in_float32():
    a, b = (normal(seed, 4, 8).astype(jnp.bfloat16) for seed in (1, 2))
    rounded = every_objective(a, b)
    exact = every_objective(a.astype(jnp.float32), b.astype(jnp.float32))
    for name, loss in rounded.items():
        assert loss.dtype == jnp.float32
        assert loss == pytest.approx(float(exact[name]), rel=1e-6), name
