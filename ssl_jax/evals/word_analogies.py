"""Word analogies: Athens is to Greece as Oslo is to what?"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from ssl_jax.config import ConfigError
from ssl_jax.data import paths
from ssl_jax.knobs import at_least
from ssl_jax.scores.word_vectors import check_word_vectors, word_vectors
from ssl_jax.solvers.probe import unit

ROWS = 256  # questions at once


@dataclasses.dataclass(frozen=True)
class WordAnalogies:
    """Share of analogies a : b = c : d whose d is found (Mikolov et al. 2013).

    The answer is the word whose vector has the largest cosine with b - a + c, all of length 1
    (3CosAdd); a, b and c themselves do not count.

    Yields 'words', the share over all questions, 'words/semantic', 'words/syntactic' (sections
    whose names begin with 'gram'), 'words/<section>' for each, and 'words/oov', the share of
    questions that are left out because a word of them is not in the vocabulary. A section without a
    question left is not there.

    Attributes:
      file: questions-words.txt as Google distributed it: lines ': section' and 'a b c d'.
      common: only so many words, the most frequent ones, are looked at, in questions and as
        answers, as the released compute-accuracy does with 30000; 0: all.
    """

    file: str
    common: int = 0
    every: int = 0

    def __post_init__(self):
        at_least(self, 0, "common")

    def check(self, frozen) -> None:
        """ConfigError for a method without word vectors, or a file that cannot be read."""
        check_word_vectors(frozen)
        read_questions(self.file)

    def run(self, frozen) -> Iterator[tuple[str, float]]:
        """ConfigError if no question is in the vocabulary."""
        words, vectors = word_vectors(frozen)
        if self.common:
            words, vectors = words[: self.common], vectors[: self.common]
        places, rows = {word: place for place, word in enumerate(words)}, unit(vectors)
        hits, asked = {}, 0
        for section, questions in read_questions(self.file).items():
            known = [[places[w] for w in q] for q in questions if all(w in places for w in q)]
            asked += len(questions)
            if known:
                hits[section] = answers(rows, np.array(known)[:, :3]) == np.array(known)[:, 3]
        if not hits:
            raise ConfigError(f"{self.file}: no question has all its words in the vocabulary")
        whole = np.concatenate([*hits.values()])
        yield "words", float(whole.mean())
        for kind, grammar in (("semantic", False), ("syntactic", True)):
            own = [found for name, found in hits.items() if name.startswith("gram") == grammar]
            if own:
                yield f"words/{kind}", float(np.concatenate(own).mean())
        for section, found in hits.items():
            yield f"words/{section}", float(found.mean())
        yield "words/oov", 1 - len(whole) / asked


def answers(
    rows: Float[np.ndarray, "k d"], questions: Int[np.ndarray, "q 3"]
) -> Int[np.ndarray, "q"]:
    """By 3CosAdd the number of the word that fits a : b = c : ?, for rows of length 1."""
    found = []
    for start in range(0, len(questions), ROWS):
        part = questions[start : start + ROWS]
        first, second, third = (rows[column] for column in part.T)
        scores = (second - first + third) @ rows.T
        np.put_along_axis(scores, part, -np.inf, axis=1)
        found.append(scores.argmax(1))
    return np.concatenate(found)


def read_questions(file: str) -> dict[str, list[tuple[str, ...]]]:
    """Section -> questions of four words in small letters; ConfigError for what is no such file."""
    try:
        text = paths.read_text(file).read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error})") from error
    sections, questions = {}, None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(":"):
            questions = sections.setdefault(line[1:].strip(), [])
        elif fields := line.lower().split():
            if questions is None or len(fields) != 4:
                raise ConfigError(f"{file}:{number}: should be ': section' or four words")
            questions.append(tuple(fields))
    if not any(sections.values()):
        raise ConfigError(f"{file}: has no questions")
    return sections
