"""The proprioception vector: named fields of the robot state, concatenated in configured order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from moto_ros.data.fields import state_fields
from moto_ros.data.joints import JointOrder
from moto_ros.data.layout import StepLayout
from moto_ros.errors import MotoError


def join(found: Mapping[str, np.ndarray], layout: StepLayout) -> np.ndarray | None:
    """Return the vector, float32 (P,), or None where a field is absent."""
    if any(name not in found for name in layout.proprio):
        return None
    return np.concatenate([np.zeros(0, np.float32), *(found[name] for name in layout.proprio)])


def vector(message: Any, layout: StepLayout, joints: JointOrder | None = None) -> np.ndarray:
    """Return the proprioception of one state message, float32 (P,); MotoError when a field is missing."""
    found, sentence = state_fields(message, layout, joints)
    values = join(found, layout)
    if values is None:
        missing = [name for name in layout.proprio if name not in found]
        raise MotoError(f"robot state: {sentence or f'has no field {missing[0]}'}; set 'proprio' to fields that it has")
    return values
