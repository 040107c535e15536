"""The middleware settings that carry camera images between processes without loss."""

from __future__ import annotations

import os
from pathlib import Path

from moto_ros.config import config_folder
from moto_ros.ros.startup import PROFILE_FILE

MODE = "FASTDDS_BUILTIN_TRANSPORTS"
"""Variable that names one of Fast DDS's own sets of transports."""


def environment() -> dict[str, str]:
    """Return the environment variables that every process of a system needs: none where a person has set their own.

    Fast DDS's default transports fragment a 0.9 MB image over UDP and drop most of it; the profile file that is named
    here moves it through shared memory. Other middlewares ignore the variables.
    """
    if any(os.environ.get(name) for name in (*PROFILE_FILE, MODE)):
        return {}
    return dict.fromkeys(PROFILE_FILE, str(profile()))


def profile() -> Path:
    """Return the profile file that is shipped."""
    return config_folder() / "transport" / "fastdds.xml"
