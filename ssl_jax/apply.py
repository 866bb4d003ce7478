"""Applying a trained run to files.

    python -m ssl_jax.apply colorize IMAGE... --workdir=RUN [--output=DIR]
    python -m ssl_jax.apply inpaint  IMAGE... --workdir=RUN [--output=DIR]
    python -m ssl_jax.apply sync     VIDEO... --workdir=RUN [--output=DIR]
    python -m ssl_jax.apply sound    VIDEO... --workdir=RUN [--output=DIR] [--exemplars=256]
    python -m ssl_jax.apply talk     IMAGE... --audio=FILE --workdir=RUN [--output=DIR]
    python -m ssl_jax.apply words    [WORD...] --workdir=RUN [--output=FILE]
    python -m ssl_jax.apply text     --prompt=TEXT --workdir=RUN [--tokens=200] [--temperature=1]
                                     [--top_k=0] [--seed=0]

A method that can be applied has

    apply_to(variables, images) -> images      uint8 (b h w 3) in and out, of any size, jit-safe

Results are PNG files with the images' names in DIR, by default RUN/colorize (or RUN/inpaint).

'sync' prints by how many frames a video lags or leads its audio, and how sure that is; with
--output it writes the videos in sync.

'sound' writes the videos with the audio that a run of IndicatedSound thinks they make, put together
from audio of its training records, of which --exemplars are searched (0: all).

'talk' writes a video, with its audio, of the person of the images saying what an audio file says.

'words' prints the words nearest to each, and writes all vectors of a run of WordVectors to FILE in
a format of word2vec: binary if it ends in .bin, text otherwise.

'text' prints the prompt with what a language model makes of it: a run of Autoregressive continues
it, of MaskedWords it fills in each [MASK] with a token, of SpanCorruption with a span. With
--temperature=0 it takes the most likely token, otherwise it draws, with --top_k among so many.
"""

import os
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.applying.sound import add_sound
from ssl_jax.applying.talk import talk
from ssl_jax.applying.text import write_text
from ssl_jax.applying.words import tell_words
from ssl_jax.command import arguments_of, enter, parser_of
from ssl_jax.config import ConfigError
from ssl_jax.data import decode
from ssl_jax.data.paths import home
from ssl_jax.data.record import MediaError
from ssl_jax.data.shifted_audio import write_shifted
from ssl_jax.data.sources.files import FilesSource
from ssl_jax.evals.sync_offset import distances_of
from ssl_jax.method import Method
from ssl_jax.scores.offset import offset_of
from ssl_jax.training.differing_arrays import naming_unfit_arrays
from ssl_jax.training.trained import load, training_source

# Verb -> class of the method.
VERBS = {"colorize": "Colorization", "inpaint": "Inpainting"}
OF_VIDEOS = {"sync": "Synchronization", "sound": "IndicatedSound"}
OWNERS = {**VERBS, **OF_VIDEOS, "talk": "TalkingFace", "words": "WordVectors"}
WRITERS = ("Autoregressive", "MaskedWords", "SpanCorruption")
MOST = 15  # frames by which a video's audio may be shifted


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


def synchronise(videos: Sequence[str], workdir: str, output: str = "") -> Iterator[str]:
    """Says of each video by how much it lags its audio, and writes it in sync to `output`.

    Shifts of up to 15 frames of the run's rate are looked for; see `evals.sync_offset`. What is
    written is Matroska.

    Raises:
      ConfigError: the run is of another method, or files would overwrite one another.
      MediaError: a file is not a video with audio, or is too short.
    """
    workdir, output = home(workdir), home(output)
    targets = _targets(videos, output, ".mkv") if output else [""] * len(videos)
    frozen = load(workdir)
    check(frozen.method, "sync", workdir)
    for record, target in zip(FilesSource(tuple(videos)), targets, strict=True):
        mean = distances_of(frozen, record, frozen.method.layer, MOST).mean(0)
        lag, confidence = offset_of(mean)
        seconds, rate = lag / frozen.method.fps, frozen.method.fps
        count = f"{abs(lag)} frame{'s' if abs(lag) > 1 else ''} of {rate:g} per second"
        side = "lags its audio" if lag > 0 else "leads its audio"
        said = f"{side} by {count} ({abs(seconds):.3f} s)" if lag else "is in sync"
        yield f"{record.name}: the video {said}, confidence {confidence:.3f}"
        if target:
            write_shifted(record.name, target, seconds)


def sound(
    videos: Sequence[str], workdir: str, output: str = "", exemplars: int = 256
) -> Iterator[str]:
    """Writes each video with a predicted sound to `output`, by default RUN/sound, as Matroska.

    See `applying.sound`. Yields a line for each.

    Raises:
      ConfigError: the run is of another method, or files would overwrite one another.
      MediaError: a file is not a video, or is too short; or no training record can be read.
    """
    if exemplars < 0:
        raise ConfigError(f"exemplars={exemplars} must be at least 0")
    workdir, output = home(workdir), home(output)
    targets = _targets(videos, output or os.path.join(workdir, "sound"), ".mkv")
    frozen = load(workdir)
    check(frozen.method, "sound", workdir)
    yield from add_sound(frozen, training_source(workdir), videos, targets, exemplars)


def speak(images: Sequence[str], audio: str, workdir: str, output: str = "") -> Iterator[str]:
    """Writes a video of the person of the images saying what an audio file says, as MP4.

    It has the audio file's name and lies in `output`, by default RUN/talk. Yields a line about it.

    Raises:
      ConfigError: the run is of another method, or there are too many images or no audio file.
      MediaError: a file is not an image, or has no audio.
    """
    if not audio:
        raise ConfigError("--audio=FILE missing: talk IMAGE... --audio=FILE --workdir=RUN")
    workdir, output = home(workdir), home(output)
    (target,) = _targets([audio], output or os.path.join(workdir, "talk"), ".mp4")
    frozen = load(workdir)
    check(frozen.method, "talk", workdir)
    yield talk(frozen, [read(image) for image in images], audio, target)


def write_after(
    prompt: str,
    workdir: str,
    tokens: int = 200,
    temperature: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
) -> str:
    """The prompt with what the language model of a run makes of it; see `applying.text`.

    Raises ConfigError: the run's method writes no text, or the prompt or a number does not fit.
    """
    for name, value, least in (
        ("tokens", tokens, 1),
        ("temperature", temperature, 0),
        ("top_k", top_k, 0),
        ("seed", seed, 0),
    ):
        if not value >= least:
            raise ConfigError(f"--{name}={value} must be at least {least}")
    workdir = home(workdir)
    frozen = load(workdir)
    name = type(frozen.method).__name__
    if name not in WRITERS:
        raise ConfigError(f"{workdir} is a run of {name}; text needs {', '.join(WRITERS)}")
    return write_text(frozen, prompt, tokens, temperature, top_k, seed)


def words(asked: Sequence[str], workdir: str, output: str = "") -> Iterator[str]:
    """Tells the words nearest to each of these, and writes all vectors; see `applying.words`.

    Raises ConfigError: the run is of another method, or has no such word.
    """
    workdir = home(workdir)
    frozen = load(workdir)
    check(frozen.method, "words", workdir)
    yield from tell_words(frozen, asked, home(output))


def check(method: Method, verb: str, workdir: str) -> None:
    """ConfigError if the method of a run is not the one that the verb asks for."""
    name = type(method).__name__
    if name != OWNERS[verb]:
        fits = [v for v, owner in OWNERS.items() if owner == name]
        can = f"can only {fits[0]}" if fits else "is not applied to files"
        raise ConfigError(f"{workdir} is a run of {name}, which {can}; {verb} needs {OWNERS[verb]}")


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


def _targets(images: Sequence[str], output: str, suffix: str = ".png") -> list[str]:
    """The file to write for every file; ConfigError if one would be overwritten."""
    stems = [os.path.splitext(os.path.basename(image))[0] for image in images]
    for stem in stems:
        if stems.count(stem) > 1:
            raise ConfigError(f"{stems.count(stem)} files are named '{stem}'; give one at a time")
    targets = [os.path.join(output, f"{stem}{suffix}") for stem in stems]
    originals = {os.path.realpath(image) for image in images}
    for target in targets:
        if os.path.realpath(target) in originals:
            raise ConfigError(f"{target} would be overwritten; choose another --output")
    return targets


def main(argv: Sequence[str]) -> None:
    """Applies a run to the images that the command line names."""
    parser = parser_of("apply", "Applies a trained run to files.")
    verbs = (*OWNERS, "text")
    parser.add_argument("verb", nargs="?", default="", help=" or ".join(verbs))
    parser.add_argument("images", nargs="*", metavar="FILE")
    parser.add_argument("--workdir", default="", help="folder of the trained run")
    parser.add_argument("--output", default="", help="folder of the results; default: RUN/VERB")
    parser.add_argument("--exemplars", type=int, help="of sound: records searched; default: 256")
    parser.add_argument("--audio", default="", help="of talk: what is said")
    parser.add_argument("--prompt", help="of text: the text to continue, or with gaps [MASK]")
    parser.add_argument("--tokens", type=int, help="of text: written at most; default: 200")
    parser.add_argument("--temperature", type=float, help="of text: 0: the most likely; default: 1")
    parser.add_argument("--top_k", type=int, help="of text: drawn among so many; default: all")
    parser.add_argument("--seed", type=int, help="of text: of the draws; default: 0")
    known = arguments_of(parser, argv)
    if known.verb not in verbs:
        raise ConfigError(f"write one of {', '.join(verbs)} first, not '{known.verb}'")
    writing = ("tokens", "temperature", "top_k", "seed")
    of_text = [(flag, "text") for flag in ("prompt", *writing)]
    for flag, verb in (("exemplars", "sound"), ("audio", "talk"), *of_text):
        if getattr(known, flag) not in (None, "") and known.verb != verb:
            raise ConfigError(f"--{flag} is for {verb}, not for {known.verb}")
    if known.verb == "text":
        if known.images or known.prompt is None or not known.workdir:
            raise ConfigError("write text --prompt=TEXT --workdir=RUN, and no files")
        given = {flag: getattr(known, flag) for flag in writing}
        given = {flag: value for flag, value in given.items() if value is not None}
        print(write_after(known.prompt, known.workdir, **given))
        return
    if known.verb == "words":
        if not known.workdir or not (known.images or known.output):
            missing = "--output=FILE or words" if known.workdir else "--workdir=RUN"
            raise ConfigError(f"{missing} missing: words [WORD...] --workdir=RUN [--output=FILE]")
        for line in words(known.images, known.workdir, known.output):
            print(line)
        return
    kind = "video" if known.verb in OF_VIDEOS else "image"
    if not known.images or not known.workdir:
        missing = "--workdir=RUN" if known.images else f"the {kind} files"
        raise ConfigError(f"{missing} missing: {known.verb} {kind.upper()}... --workdir=RUN")
    files = known.images, known.workdir, known.output
    if known.verb == "sync":
        lines = synchronise(*files)
    elif known.verb == "sound":
        lines = sound(*files, 256 if known.exemplars is None else known.exemplars)
    elif known.verb == "talk":
        lines = speak(known.images, known.audio, known.workdir, known.output)
    else:
        lines = apply(known.verb, *files)
    for line in lines:
        print(line)


if __name__ == "__main__":
    enter(main, "apply")
