"""Applying a run to images: sizes, colours and kinds of files, and the one line of a mistake."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import media
import numpy as np
import pytest
from PIL import Image

from ssl_jax import apply
from ssl_jax import config as configs
from ssl_jax.config import ConfigError, call
from ssl_jax.data.record import MediaError
from ssl_jax.experiment import Checkpoints
from ssl_jax.methods.image.colorization import Colorization
from ssl_jax.methods.image.rotation import Rotation
from ssl_jax.models.dense_alexnet import DenseAlexNet
from ssl_jax.models.nin import NIN
from ssl_jax.ops.colour import rgb_to_lab
from ssl_jax.training.checkpoint import Saver, TrainState

ROOT = os.path.dirname(os.path.dirname(__file__))
CONFIG = os.path.join(ROOT, "configs", "image", "colorization_imagenet.py")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    """A workdir with a checkpoint of weights as they are drawn."""
    workdir = str(tmp_path_factory.mktemp("run"))
    config = configs.load(f"{CONFIG}:tiny")
    trunk = call(DenseAlexNet, width=0.03, conv1_stride=2, fc6=32, fc7=32)
    config.method = call(Colorization, vision=trunk, size=33, stored=40)
    configs.save(config, os.path.join(workdir, "config.json"))
    variables = dict(jax.jit(configs.build(config).initialiser())())
    params = variables.pop("params")
    state = TrainState(jnp.zeros((), jnp.int32), jax.random.key(0), params, variables, {})
    with Saver(workdir, Checkpoints()) as saver:
        saver.save(state, 0)
    return workdir


def save(path, height: int, width: int, mode: str = "RGB") -> str:
    """A picture of soft colours, whose lightness leaves room for other colours."""
    rng = np.random.default_rng(height)
    coarse = Image.fromarray(rng.integers(90, 160, (4, 4, 3)).astype(np.uint8))
    coarse.resize((width, height), Image.Resampling.BILINEAR).convert(mode).save(path)
    return str(path)


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def test_pictures_of_any_size_and_kind_keep_size_and_lightness(run, tmp_path, capsys):
    pictures = [
        save(tmp_path / "wide.jpg", 30, 61),
        save(tmp_path / "tiny.bmp", 1, 2),
        save(tmp_path / "grey.png", 45, 45, "L"),
        save(tmp_path / "clear.webp", 20, 21, "RGBA"),
    ]
    output = tmp_path / "there" / "below"
    arguments = ["colorize", *pictures[:2], f"--workdir={run}", *pictures[2:]]
    apply.main([*arguments, f"--output={output}"])
    names = ("wide", "tiny", "grey", "clear")
    assert capsys.readouterr().out.split() == [str(output / f"{n}.png") for n in names]
    for source, name in zip(pictures, names, strict=True):
        given, made = apply.read(source), pixels(output / f"{name}.png")
        assert made.shape == given.shape
        lightness = np.asarray(rgb_to_lab(jnp.asarray(np.stack([given, made]))))[..., 0]
        assert np.abs(lightness[0] - lightness[1]).max() < 2
    # The net has learnt nothing, but what it says it says of grey pictures too: in colour.
    grey = pixels(output / "grey.png").astype(int)
    assert (np.ptp(grey, axis=-1) > 0).any()


def test_the_old_colours_do_not_matter(run, tmp_path):
    coloured = save(tmp_path / "coloured.png", 40, 50)
    lab = np.asarray(rgb_to_lab(jnp.asarray(apply.read(coloured))))
    # The grey of a lightness: f(Y) = (L + 16) / 116, then sRGB's curve.
    linear = ((lab[..., 0] + 16) / 116) ** 3
    grey = np.round(255 * (1.055 * linear ** (1 / 2.4) - 0.055)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    one, other = apply.apply("colorize", [coloured, str(tmp_path / "grey.png")], run)
    assert os.path.dirname(one) == os.path.join(run, "colorize")
    assert np.abs(pixels(one).astype(int) - pixels(other)).max() <= 4


def test_the_picture_is_the_methods(run, tmp_path):
    source = save(tmp_path / "a.png", 12, 9)
    (target,) = apply.apply("colorize", [source], run, str(tmp_path / "out"))
    frozen = apply.load(run)
    assert isinstance(frozen.method, Colorization)
    expected = jax.jit(frozen.method.apply_to)(frozen.variables, apply.read(source)[None])
    np.testing.assert_array_equal(pixels(target), expected[0])


@pytest.mark.parametrize(
    ("method", "verb", "message"),
    [
        (Rotation(NIN()), "colorize", "a run of Rotation, which is not applied to files; colo"),
        (Colorization(NIN()), "inpaint", "a run of Colorization, which can only colorize; inpaint"),
    ],
)
def test_a_verb_that_the_run_cannot_do(method, verb, message):
    with pytest.raises(ConfigError, match=message):
        apply.check(method, verb, "runs/x")


def test_a_mistake_is_one_line(run, tmp_path):
    good, text, film = save(tmp_path / "a.png", 9, 9), tmp_path / "b.png", tmp_path / "film.mp4"
    text.write_text("no picture")
    media.write(film, frames=5)
    (tmp_path / "other").mkdir()
    twin = save(tmp_path / "other" / "a.jpg", 9, 9)
    here, out = f"--workdir={run}", f"--output={tmp_path / 'out'}"
    for argv, message in (
        ([], "write one of colorize, inpaint, sync, sound, talk, words, text first, not ''"),
        (
            ["colourise", good, here],
            "write one of colorize, inpaint, sync, sound, talk, words, text first, not 'colourise'",
        ),
        (["colorize", here], "the image files missing"),
        (["colorize", good], "--workdir=RUN missing"),
        (["colorize", good, here, "--size=3"], "unknown argument --size=3"),
        (["colorize", good, "--workdir=/none"], "no trained run in /none"),
        (["colorize", str(tmp_path / "none.png"), here, out], "none.png: "),
        (["colorize", str(tmp_path), here, out], f"{tmp_path}: "),
        (["colorize", str(text), here, out], "b.png: cannot be read"),
        (
            ["colorize", str(film), here, out],
            "film.mp4: has 5 frames; give files of one",
        ),
        (["colorize", good, twin, here, out], "2 files are named 'a'; give one at a time"),
        (["colorize", good, here, f"--output={tmp_path}"], "a.png would be overwritten"),
        (["colorize", good, here, "--output=/proc/none"], "cannot write /proc/none/a.png"),
        (["inpaint", good, here, out], "a run of Colorization, which can only colorize"),
    ):
        with pytest.raises((ConfigError, MediaError)) as error:
            apply.main(argv)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "ssl_jax.apply", "colorize", "x.png", f"--workdir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == f"ssl_jax: no trained run in {tmp_path} (there is no config.json)\n"
