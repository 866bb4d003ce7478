"""Orders that papers found, tried at small scale: the page of claims, and the runs behind it.

    python -m ssl_jax.results [--claims=docs/claims] [--output=claims.md]
    python -m ssl_jax.results --claim=NAME --workdir=DIR [--keep]

The first makes the page from docs/claims/*.yaml and the small results that are kept beside them.
The second trains a claim's runs below DIR (those that are finished are left as they are) and judges
the claim by them; --keep also keeps their results in the folder of claims.
"""

import os
from collections.abc import Sequence

from ssl_jax.claims.claim import read_claim, read_claims
from ssl_jax.claims.judged import Judged, judged
from ssl_jax.claims.kept import has_results, kept_runs, path_of, write_kept
from ssl_jax.claims.page import page, verdict_text
from ssl_jax.claims.trying import as_kept, results_of, train_all
from ssl_jax.command import arguments_of, enter, parser_of
from ssl_jax.config import ConfigError


def claims_page(folder: str | os.PathLike) -> str:
    """The page of a folder of claims, in Markdown.

    Claims without any result are named at its end; ConfigError if a part of a claim's is missing.
    """
    claims = read_claims(folder)
    tried = [claim for claim in claims if has_results(folder, claim)]
    rows = [judged(claim, kept_runs(folder, claim)) for claim in tried]
    return page(rows, [claim for claim in claims if claim not in tried])


def try_claim(folder: str | os.PathLike, name: str, workdir: str, keep: bool = False) -> Judged:
    """Trains what is not finished of a claim's runs below `workdir`, and judges it by them."""
    claim = read_claim(os.path.join(folder, f"{name}.yaml"))
    train_all(claim, workdir)
    results = results_of(claim, workdir)
    for (arm, seed), parts in results.items() if keep else ():
        write_kept(parts, path_of(folder, claim, arm, seed))
    return judged(claim, as_kept(claim, results))


def main(argv: Sequence[str]) -> None:
    """Makes the page, or tries the claim that the command line names."""
    parser = parser_of("results", __doc__)
    parser.add_argument("--claims", default="docs/claims", help="folder of claims")
    parser.add_argument("--output", default="claims.md", help="the page")
    parser.add_argument("--claim", default="", help="one claim, to be tried")
    parser.add_argument("--workdir", default="", help="where its runs are")
    parser.add_argument("--keep", action="store_true", help="keep its results beside the claim")
    known = arguments_of(parser, argv)
    if known.claim:
        if not known.workdir:
            raise ConfigError("--claim trains runs: say where, --workdir=runs/claims")
        print(verdict_text(try_claim(known.claims, known.claim, known.workdir, known.keep)))
        return
    if known.workdir or known.keep:
        raise ConfigError("--workdir and --keep go with --claim=NAME")
    text = claims_page(known.claims)
    with open(known.output, "w") as file:
        file.write(text)
    print(f"the page is {known.output}")


if __name__ == "__main__":
    enter(main, "results")
