"""Applying: a trained method makes new pictures of given ones.

    python -m ssl_jax.apply colorize PICTURE... --workdir=RUN [--output=DIR]
    python -m ssl_jax.apply inpaint  PICTURE... --workdir=RUN [--output=DIR]

A method that can be applied has

    apply_to(variables, images) -> images      uint8 (b h w 3) in and out, of any size, jit-safe

Results are PNG files of the pictures' names in DIR, by default the folder RUN/colorize (or
RUN/inpaint). A mistake of the user costs one line on stderr and exit code 2.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.command import arguments_of
from ssl_jax.config import ConfigError
from ssl_jax.data import decode
from ssl_jax.data.record import MediaError
from ssl_jax.frozen import load
from ssl_jax.method import Method

VERBS = {"colorize": "Colorization", "inpaint": "Inpainting"}  # verb -> class of the method


def apply(verb: str, pictures: Sequence[str], workdir: str, output: str = "") -> list[str]:
    """Applies the run in `workdir` to picture files, one after the other; see the module.

    Returns the paths of the files written, in the order of `pictures`. The network is compiled
    anew for every new size of picture.

    Raises:
      ConfigError: the run's method cannot do this, or files would overwrite one another.
      MediaError: a file is no picture.
    """
    output = output or os.path.join(workdir, verb)
    targets = _targets(pictures, output)
    frozen = load(workdir)
    check(frozen.method, verb, workdir)
    apply_to = jax.jit(frozen.method.apply_to)
    for picture, target in zip(pictures, targets, strict=True):
        result = apply_to(frozen.variables, jnp.asarray(read(picture)[None]))
        write(jax.device_get(result)[0], target)
    return targets


def check(method: Method, verb: str, workdir: str) -> None:
    """ConfigError if the method of a run is not the one that the verb asks for."""
    name = type(method).__name__
    if name != VERBS[verb] or not hasattr(method, "apply_to"):
        fits = [v for v, owner in VERBS.items() if owner == name]
        can = f"can only {fits[0]}" if fits else "makes no pictures"
        raise ConfigError(f"{workdir} is a run of {name}, which {can}; {verb} needs {VERBS[verb]}")


def read(path: str) -> np.ndarray:
    """A picture file as uint8 (h w 3); MediaError if it is none, or a film."""
    count = decode.probe(path).num_frames
    if count != 1:
        what = f"has {count} frames" if count else "has no picture"
        raise MediaError(f"{path}: {what}; only files of one picture can be applied to")
    return decode.read_frames(path, [0])[0]


def write(pixels: np.ndarray, path: str) -> None:
    """Writes uint8 (h w 3) as PNG; ConfigError if that is not possible."""
    from PIL import Image

    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        Image.fromarray(pixels).save(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _targets(pictures: Sequence[str], output: str) -> list[str]:
    """The file to write for every picture; ConfigError if one would be lost by it."""
    stems = [os.path.splitext(os.path.basename(picture))[0] for picture in pictures]
    for stem in stems:
        if stems.count(stem) > 1:
            raise ConfigError(f"{stems.count(stem)} pictures are called '{stem}'; apply one by one")
    targets = [os.path.join(output, f"{stem}.png") for stem in stems]
    originals = {os.path.realpath(picture) for picture in pictures}
    for target in targets:
        if os.path.realpath(target) in originals:
            raise ConfigError(f"{target} would be overwritten; choose another --output")
    return targets


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads what follows `python -m ssl_jax.apply`; ConfigError for any mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_jax.apply",
        description="Makes new pictures of given ones with a trained run.",
        allow_abbrev=False,
        exit_on_error=False,
    )
    parser.add_argument("verb", nargs="?", default="", help=" or ".join(VERBS))
    parser.add_argument("pictures", nargs="*", help="picture files")
    parser.add_argument("--workdir", default="", help="folder of the trained run")
    parser.add_argument("--output", default="", help="folder of the results; RUN/VERB if left out")
    known = arguments_of(parser, argv)
    if known.verb not in VERBS:
        raise ConfigError(f"write one of {', '.join(VERBS)} first, not '{known.verb}'")
    if not known.pictures or not known.workdir:
        missing = "--workdir=RUN" if known.pictures else "the picture files"
        raise ConfigError(f"{missing} missing: {known.verb} PICTURE... --workdir=RUN")
    return known


def main(argv: Sequence[str]) -> int:
    """Applies by the command line; returns the exit code."""
    try:
        asked = parse(argv)
        for path in apply(asked.verb, asked.pictures, asked.workdir, asked.output):
            print(path)
    except (ConfigError, MediaError) as error:
        print(f"ssl_jax: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
