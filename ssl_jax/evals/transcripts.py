"""Error rates of what a network writes down of speech."""

import csv
import dataclasses
import io
from collections.abc import Iterator

import jax
import numpy as np

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.data.annotations import name_fact, names_of
from ssl_jax.data.record import Record, Source
from ssl_jax.drawing.layout import Tile, page, written
from ssl_jax.knobs import at_least
from ssl_jax.scores.transcripts import character_errors, check_installed, collapsed, word_errors

STREAM, PATH = "text", "path"


@dataclasses.dataclass(frozen=True)
class Transcripts:
    """Word and character error rates of a run of `Transcription`, over all test utterances at once.

    Decoding is greedy: the likeliest class of every step, repeats merged, blanks left out. There is
    no beam: without a language model it hardly changes the answer, and the packages that search
    with one are no longer kept. References and answers are compared as `method.alphabet` normalises
    them: small letters, no punctuation. Yields

    * 'normalised/wer', 'normalised/cer': edits over words, or over characters with the spaces
      between words. For scripts without spaces only the latter says much;
    * 'chance/wer', 'chance/cer': of each answer given to the next record, which a network reaches
      that knows what texts are like but hears nothing;
    * 'left_out': test records that could not be used: too long, or with letters that the alphabet
      lacks;
    * the image 'examples': some texts, and what was heard.

    Needs the extra `speech`: pip install 'ssl_jax[speech]'.

    Attributes:
      test: a source of utterances whose first caption is what is said.
      drawn: how many examples are drawn.
      file: a csv of all names, texts and answers of the trained network is written there; '': none.
    """

    test: Source
    drawn: int = 8
    file: str = ""
    every: int = 0

    def __post_init__(self):
        at_least(self, 1, "drawn")

    def check(self, frozen) -> None:
        """ConfigError for another method, or without `jiwer`."""
        name = type(frozen.method).__name__
        if name != "Transcription":
            raise ConfigError(f"Transcripts is for Transcription, this run is of {name}")
        check_installed()

    def run(self, frozen) -> Iterator[tuple[str, float | np.ndarray]]:
        """ConfigError if nothing is said in any record."""
        method = frozen.method

        def said(record: Record) -> dict[str, np.ndarray]:
            return {"said": method.target(record), **name_fact(record)}

        found = frozen.features(self.test, STREAM, (PATH,), 1, "whole", facts=said)
        decode = method.alphabet.decode
        texts = [decode(row) for row in found.facts["said"]]
        heard = [decode(collapsed(row)) for row in found.layers[PATH].astype(np.int32)]
        others = heard[1:] + heard[:1]
        for name, answers in (("normalised", heard), ("chance", others)):
            yield f"{name}/wer", word_errors(texts, answers).rate
            yield f"{name}/cer", character_errors(texts, answers).rate
        yield "left_out", float(len(self.test) - len(texts))
        trained = int(frozen.variables["run"]["step"]) > 0
        if self.file and trained and jax.process_index() == 0:
            write(self.file, names_of(found.facts), texts, heard)
        few = np.linspace(0, len(texts) - 1, min(self.drawn, len(texts))).round().astype(int)
        lines = [f"said   {texts[i]}\nheard  {heard[i]}" for i in few]
        yield "examples", page([[Tile(written(one, 40))] for one in lines], 40)


def write(file: str, names: tuple[str, ...], texts: list[str], heard: list[str]) -> None:
    """A csv with the columns name, said and heard."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(("name", "said", "heard"))
    rows.writerows(zip(names, texts, heard, strict=True))
    draft = paths.draft(file)
    try:
        with open(draft, "w", encoding="utf-8", newline="") as opened:
            opened.write(text.getvalue())
        paths.put(draft, file)
    except OSError as error:
        raise ConfigError(f"file={file}: cannot be written ({error})") from error
