"""Filters and features as pictures."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from computed import inputs_of
from sklearn.decomposition import PCA

from ssl_jax.config import ConfigError
from ssl_jax.data.sources.synthetic import SyntheticSource
from ssl_jax.evals.feature_colours import FeatureColours, three_components
from ssl_jax.evals.filters import Filters, filter_page, first_kernel


def params(*shapes):
    rng = np.random.default_rng(0)
    return {
        f"conv{i}": {"kernel": jnp.asarray(rng.normal(size=s)), "bias": jnp.zeros(s[-1])}
        for i, s in enumerate(shapes, start=1)
    }


def test_the_first_convolution_is_the_one_that_sees_the_input():
    trunk = params((3, 3, 8, 8), (7, 7, 3, 8), (1, 1, 3, 4), (8, 10))
    assert first_kernel(trunk)[0] == "conv2/kernel"
    assert first_kernel(trunk, "conv1/kernel")[1].shape == (3, 3, 8, 8)
    with pytest.raises(ConfigError, match="no convolution 'conv4/kernel'"):
        first_kernel(trunk, "conv4/kernel")
    with pytest.raises(ConfigError, match="Set kernel to one of"):
        first_kernel(params((3, 3, 3, 8), (5, 5, 3, 8)))
    with pytest.raises(ConfigError, match="no convolutions"):
        first_kernel(params((8, 10)))


def test_filters_are_drawn_around_grey_the_strongest_first():
    weights = np.zeros((2, 2, 3, 2))
    weights[..., 0, 1] = 4.0  # all red
    weights[0, 0, :, 0] = -1.0  # black in a corner
    sheet = filter_page(weights, 8)
    left, right = sheet[:, : sheet.shape[1] // 2], sheet[:, sheet.shape[1] // 2 :]
    assert (left == [255, 128, 128]).all(axis=2).sum() == 64
    assert (right == [0, 0, 0]).all(axis=2).sum() == 16
    assert (right == [128, 128, 128]).all(axis=2).sum() == 48
    for shape in ((5, 5, 1, 6), (5, 5, 12, 6), (3, 7, 7, 3, 6), (3, 7, 7, 1, 6)):
        sheet = filter_page(np.random.default_rng(1).normal(size=shape), 16)
        assert sheet.dtype == np.uint8
        assert sheet.shape[2] == 3


@dataclasses.dataclass(frozen=True)
class Network:
    """Stands for a frozen network."""

    variables: dict

    inputs = inputs_of

    def times(self, record, stream, count):
        return [0.0] * count

    def clips(self, record, stream, times):
        return {stream: record.need_frames()([0] * len(times))}

    def encode(self, stream, inputs):
        maps = inputs["vision"][:, ::4, ::4].astype(np.float32)
        return {"conv1": maps, "same": 0 * maps + 7, "fc": maps.mean((1, 2))}

    def maps(self, stream, inputs, layers):
        return {name: self.encode(stream, inputs)[name] for name in layers}


def test_dead_filters_are_counted():
    trunk = params((5, 5, 3, 8))
    trunk["conv1"]["kernel"] = trunk["conv1"]["kernel"].at[..., :2].multiply(1e-4)
    results = dict(Filters().run(Network({"params": {"vision": trunk}})))
    assert results["dead"] == 0.25
    assert results["filters"].dtype == np.uint8
    with pytest.raises(ConfigError, match="no trunk 'audio' has weights; there are vision"):
        dict(Filters("audio").run(Network({"params": {"vision": trunk}})))
    trunk["conv1"]["kernel"] = trunk["conv1"]["kernel"] * np.nan
    with pytest.raises(FloatingPointError, match="conv1/kernel is NaN"):
        dict(Filters().run(Network({"params": {"vision": trunk}})))


def test_colours_are_principal_components():
    rng = np.random.default_rng(2)
    maps = rng.normal(size=(3, 6, 5, 8)) * np.array([9, 5, 3, 1, 1, 1, 1, 1]) + 100
    colours, share = three_components(maps)
    theirs = PCA(3).fit(maps.reshape(-1, 8))
    assert share == pytest.approx(theirs.explained_variance_ratio_.sum())
    components = theirs.transform(maps.reshape(-1, 8))
    for channel in range(3):
        found = colours[..., channel].ravel().astype(float)
        assert abs(np.corrcoef(found, components[:, channel])[0, 1]) > 0.98
        assert np.median(found) >= 127
    flat, share = three_components(np.full((2, 3, 3, 4), 5.0))
    assert (flat == 128).all()
    assert share == 0
    two, _ = three_components(maps[..., :2])
    assert (two[..., 2] == 128).all()


def test_the_page_of_colours():
    videos = SyntheticSource(size=6, frames=1, height=16, width=16)
    results = dict(FeatureColours(videos, count=3).run(Network({})))
    assert results["conv1/three"] == pytest.approx(1)  # three channels there are
    assert results["same/three"] == 0
    assert set(results) == {"conv1/three", "same/three", "colours"}
    one = dict(FeatureColours(videos, layers=("conv1",), count=3).run(Network({})))
    assert one["colours"].shape[1] < results["colours"].shape[1]
    with pytest.raises(ConfigError, match="no layers with maps"):
        dict(FeatureColours(videos, layers=("fc",)).run(Network({})))
