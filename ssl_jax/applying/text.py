"""Text that a language model writes: after a prompt, or in its gaps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssl_jax.config import ConfigError
from ssl_jax.method import Batch

GAP = "[MASK]"


def write_text(frozen, prompt: str, tokens: int, temperature: float, top_k: int, seed: int) -> str:
    """The prompt with what the model makes of it.

    `Autoregressive` continues it, by up to `tokens` tokens or to the end of the text. `MaskedWords`
    puts a token in the place of each '[MASK]', `SpanCorruption` a span, of up to `tokens` tokens in
    all.

    Args:
      frozen: the trained method.
      prompt: in any language that the tokenizer can write.
      tokens: see above.
      temperature: divides logits; 0 takes the most likely token.
      top_k: draw among so many of the most likely; 0: among all.
      seed: of the draws.

    Raises ConfigError for a prompt that is empty, too long, or has not the gaps that are needed.
    """
    method, rng = frozen.method, np.random.default_rng(seed)

    def draw(logits: jax.Array) -> int:
        return drawn(np.asarray(logits), temperature, top_k, rng)

    if hasattr(method, "next_logits"):
        return _continued(frozen, prompt, tokens, draw)
    parts = [method.tokenizer.encode(part).tolist() for part in prompt.split(GAP)]
    if len(parts) < 2:
        raise ConfigError(f"--prompt={prompt!r}: mark what is to be filled in as {GAP}")
    if hasattr(method, "word_logits"):
        return _words_filled(frozen, parts, draw)
    return _spans_filled(frozen, parts, tokens, draw)


def drawn(
    logits: Float[np.ndarray, "k"], temperature: float, top_k: int, rng: np.random.Generator
) -> int:
    """A token: the most likely, or drawn as often as softmax(logits / temperature) says."""
    if not temperature:
        return int(logits.argmax())
    least = np.sort(logits)[-top_k] if 0 < top_k < len(logits) else -np.inf
    # Numbers that differ by chance: the largest is a draw from the softmax (Gumbel).
    noisy = np.float64(logits) / temperature + rng.gumbel(size=len(logits))
    return int(np.where(logits >= least, noisy, -np.inf).argmax())


def _continued(frozen, prompt: str, tokens: int, draw: Callable) -> str:
    method, tokenizer = frozen.method, frozen.method.tokenizer
    ids, length = tokenizer.encode(prompt).tolist(), method.length
    if not ids:
        raise ConfigError(f"--prompt={prompt!r}: has no tokens; give some text to continue")
    _check_fits(ids, length)
    first = len(ids)
    logits = jax.jit(method.next_logits)
    while len(ids) < first + tokens:
        # Of what has become longer than a block its end is seen.
        batch = _row(ids[-length:], length)
        found = draw(logits(frozen.variables, batch)[0, min(len(ids), length) - 1])
        if found == tokenizer.eos:
            break
        ids.append(found)
    # Decoded together: only then is it known whether a space stands between.
    before, whole = tokenizer.decode(ids[:first]), tokenizer.decode(ids)
    if not whole.startswith(before):  # what follows changes how the prompt's end is written
        return whole
    # The prompt as it was given, without a space at its end that the model has not read.
    kept = prompt if before[-1:].isspace() else prompt.rstrip()
    return kept + whole.removeprefix(before)


def _words_filled(frozen, parts: list[list[int]], draw: Callable) -> str:
    method, tokenizer = frozen.method, frozen.method.tokenizer
    ids = [tokenizer.cls, *parts[0]]
    for part in parts[1:]:
        ids += [tokenizer.mask, *part]
    ids.append(tokenizer.sep)
    _check_fits(ids, method.length)
    logits = jax.jit(method.word_logits)
    for place in [k for k, token in enumerate(ids) if token == tokenizer.mask]:
        # One after the other, so that each goes with those before.
        ids[place] = draw(logits(frozen.variables, _row(ids, method.length))[0, place])
    return tokenizer.decode(ids)


def _spans_filled(frozen, parts: list[list[int]], tokens: int, draw: Callable) -> str:
    method, tokenizer = frozen.method, frozen.method.tokenizer
    first = method.first_sentinel
    if len(parts) - 1 > method.sentinels:
        raise ConfigError(f"--prompt: {len(parts) - 1} gaps, of {method.sentinels} at most")
    ids = [*parts[0]]
    for number, part in enumerate(parts[1:]):
        ids += [first - number, *part]
    ids.append(tokenizer.eos)
    _check_fits(ids, method.length)
    batch = _row(ids, method.length)
    logits, written = jax.jit(method.written_logits), [tokenizer.pad]
    while len(written) <= tokens:
        so_far = _row(written, tokens + 1)["text"]
        found = draw(logits(frozen.variables, batch, so_far)[0, len(written) - 1])
        if found == tokenizer.eos:
            break
        written.append(found)
    # What stands after each sentinel belongs to its gap.
    spans, own = {}, None
    for token in written[1:]:
        if token >= tokenizer.size:
            own = spans.setdefault(first - token, [])
        elif own is not None:
            own.append(token)
    whole = [*parts[0]]
    for number, part in enumerate(parts[1:]):
        whole += [*(spans[number] if number in spans else []), *part]
    return tokenizer.decode(whole)


def _row(ids: list[int], length: int) -> Batch:
    """Tokens padded to a length, always the same, so that it is compiled once."""
    row = np.zeros((1, length), np.int32)
    row[0, : len(ids)] = ids
    return {"text": jnp.asarray(row), "there": jnp.asarray(np.arange(length)[None] < len(ids))}


def _check_fits(ids: list[int], length: int) -> None:
    if len(ids) > length:
        raise ConfigError(f"--prompt: has {len(ids)} tokens, {length} fit")
