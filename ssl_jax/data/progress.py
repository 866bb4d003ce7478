"""Progress bars on stderr of what may take minutes; what is quick shows none."""

import sys

# Seconds until a bar appears.
SILENT = 3.0


def progress_bar(description: str, total: int, unit: str, shown: bool = True):
    """A tqdm bar that appears after a few seconds; a file or pipe gets few lines, not a flood."""
    from tqdm import tqdm

    return tqdm(
        desc=description,
        total=total,
        unit=unit,
        delay=SILENT,
        disable=not shown,
        leave=False,
        dynamic_ncols=True,
        file=sys.stderr,
        mininterval=0.5 if sys.stderr.isatty() else 10.0,
    )
