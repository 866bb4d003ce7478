"""One random generator for all rows of a batch: making one takes longer than reading a small image.

So does setting its state. Views that leave what is random to the device draw nothing, so the state
is set when a row draws for the first time.
"""

from typing import Any

import numpy as np
from jaxtyping import UInt64


class RowGenerator(np.random.Generator):
    """A numpy generator that starts from a new state for every row: set `words` before each.

    Attributes:
      words: the state that the next draw begins from; None once it has been set.
    """

    words: UInt64[np.ndarray, "4"] | None = None

    def __init__(self):
        super().__init__(np.random.SFC64(0))

    def __getattribute__(self, name: str) -> Any:
        get = super().__getattribute__
        words = get("words")
        if words is not None:
            self.words = None
            row = {"state": words}
            get("bit_generator").state = {
                "bit_generator": "SFC64", "state": row, "has_uint32": 0, "uinteger": 0
            }  # fmt: skip
        return get(name)
