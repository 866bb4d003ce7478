"""Which version of the code runs: the commit of its checkout, if it runs from one."""

import os
import subprocess

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def commit_and_dirty(package: str = PACKAGE) -> tuple[str, bool]:
    """The commit that a package's folder is checked out at, and whether its files were changed.

    ('', False) where there is no git, or the package is not part of a repository: one that is
    installed in an environment may lie inside somebody else's. Files that git does not know of
    make nothing dirty.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return "", False
    commit = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain", "--untracked-files=no")
    return commit or "", bool(changes)


def is_ancestor(older: str, newer: str = "HEAD", package: str = PACKAGE) -> bool | None:
    """Whether a commit is in the history of another; None where the history is not there.

    It is not outside a checkout, and in a shallow clone.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    if _git(package, "rev-parse", "--is-shallow-repository") != "false":
        return None
    return _git(package, "merge-base", "--is-ancestor", older, newer) is not None


def _git(folder: str, *arguments: str) -> str | None:
    """What git prints; None if it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
