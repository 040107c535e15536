"""torch.compile with a fallback to the plain function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Compiled:
    """A function compiled at its first call; where the compiler fails, the plain one, and `failed` holds the error.

    `graphs`: as a CUDA graph, which reuses its output memory; callers get copies.
    """

    def __init__(self, function: Callable[..., Any], graphs: bool = False) -> None:
        self._plain, self._graphs, self.failed = function, graphs, ""
        self._compiled = torch.compile(function, dynamic=False, mode="reduce-overhead" if graphs else "default")

    def __call__(self, *inputs: Any) -> Any:
        """Call the compiled function, or the plain one."""
        if not self.failed:
            try:
                found = self._compiled(*inputs)
                return copied(found) if self._graphs else found
            except RuntimeError as error:
                self.failed = str(error).splitlines()[0]
        return self._plain(*inputs)


def copied(found: Any) -> Any:
    """Return a copy of a tensor, or of a named tuple of them."""
    return found.clone() if isinstance(found, Tensor) else type(found)(*map(copied, found))
