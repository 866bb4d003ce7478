"""Applying a trained run to image files.

    python -m ssl_jax.apply colorize IMAGE... --workdir=RUN [--output=DIR]
    python -m ssl_jax.apply inpaint  IMAGE... --workdir=RUN [--output=DIR]

A method that can be applied has

    apply_to(variables, images) -> images      uint8 (b h w 3) in and out, of any size, jit-safe

Results are PNG files with the images' names in DIR, by default RUN/colorize (or RUN/inpaint).
"""

import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.command import arguments_of, enter, parser_of
from ssl_jax.config import ConfigError
from ssl_jax.data import decode
from ssl_jax.data.paths import home
from ssl_jax.data.record import MediaError
from ssl_jax.method import Method
from ssl_jax.training.differing_arrays import naming_unfit_arrays
from ssl_jax.training.trained import load

VERBS = {"colorize": "Colorization", "inpaint": "Inpainting"}  # verb -> class of the method


def apply(verb: str, images: Sequence[str], workdir: str, output: str = "") -> list[str]:
    """Applies the run in `workdir` to image files, one after the other; see the module.

    Returns the paths of the files written, in the order of `images`. The network is compiled again
    for every new size.

    Raises:
      ConfigError: the run's method cannot do this, or files would overwrite one another.
      MediaError: a file is not an image.
    """
    workdir, output = home(workdir), home(output)
    output = output or os.path.join(workdir, verb)
    targets = _targets(images, output)
    frozen = load(workdir)
    check(frozen.method, verb, workdir)
    apply_to = jax.jit(frozen.method.apply_to)
    for image, target in zip(images, targets, strict=True):
        with naming_unfit_arrays(workdir):
            result = apply_to(frozen.variables, jnp.asarray(read(image)[None]))
        write(jax.device_get(result)[0], target)
    return targets


def check(method: Method, verb: str, workdir: str) -> None:
    """ConfigError if the method of a run is not the one that the verb asks for."""
    name = type(method).__name__
    if name != VERBS[verb] or not hasattr(method, "apply_to"):
        fits = [v for v, owner in VERBS.items() if owner == name]
        can = f"can only {fits[0]}" if fits else "makes no images"
        raise ConfigError(f"{workdir} is a run of {name}, which {can}; {verb} needs {VERBS[verb]}")


def read(path: str) -> np.ndarray:
    """An image file as uint8 (h w 3); MediaError for any other file."""
    count = decode.probe(path).num_frames
    if count != 1:
        raise MediaError(f"{path}: has {count} frames; give files of one image each")
    return decode.read_frames(path, [0])[0]


def write(pixels: np.ndarray, path: str) -> None:
    """Writes uint8 (h w 3) as PNG; ConfigError if that is not possible."""
    from PIL import Image

    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        Image.fromarray(pixels).save(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _targets(images: Sequence[str], output: str) -> list[str]:
    """The file to write for every image; ConfigError if one would be overwritten."""
    stems = [os.path.splitext(os.path.basename(image))[0] for image in images]
    for stem in stems:
        if stems.count(stem) > 1:
            raise ConfigError(f"{stems.count(stem)} images are named '{stem}'; give one at a time")
    targets = [os.path.join(output, f"{stem}.png") for stem in stems]
    originals = {os.path.realpath(image) for image in images}
    for target in targets:
        if os.path.realpath(target) in originals:
            raise ConfigError(f"{target} would be overwritten; choose another --output")
    return targets


def main(argv: Sequence[str]) -> None:
    """Applies a run to the images that the command line names."""
    parser = parser_of("apply", "Applies a trained run to image files.")
    parser.add_argument("verb", nargs="?", default="", help=" or ".join(VERBS))
    parser.add_argument("images", nargs="*", metavar="IMAGE")
    parser.add_argument("--workdir", default="", help="folder of the trained run")
    parser.add_argument("--output", default="", help="folder of the results; default: RUN/VERB")
    known = arguments_of(parser, argv)
    if known.verb not in VERBS:
        raise ConfigError(f"write one of {', '.join(VERBS)} first, not '{known.verb}'")
    if not known.images or not known.workdir:
        missing = "--workdir=RUN" if known.images else "the image files"
        raise ConfigError(f"{missing} missing: {known.verb} IMAGE... --workdir=RUN")
    for path in apply(known.verb, known.images, known.workdir, known.output):
        print(path)


if __name__ == "__main__":
    enter(main, "apply")
