"""The registry of agents: a class of somebody else that lacks something is refused with one sentence."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from training_support import SPACES, CloneAgent, CloneSettings

from moto_ros.agents.interface import Agent
from moto_ros.agents.registry import agent_class, agent_phases, agent_settings, make_agent
from moto_ros.config import specs
from moto_ros.errors import MotoError
from moto_ros.training.settings import agent_identity


class WithoutName(Agent):
    """An agent that says nothing of itself."""


class WithoutSettings(Agent):
    """An agent whose parameters nobody knows."""

    name = "theirs"


class WithWrongSettings(CloneAgent):
    """An agent whose settings are no dataclass."""

    settings_class = dict


class WithoutPhases(Agent):
    """An agent that never learns."""

    name, settings_class = "theirs", CloneSettings


class Unfinished(Agent):
    """An agent without its methods."""

    name, settings_class, phases = "theirs", CloneSettings, ("one",)


@dataclass(frozen=True)
class PlainSettings:
    """Settings without documentation or limits."""

    rate: float = 0.1


def named(kind: type) -> str:
    """Return a class as "module:class"."""
    return f"{__name__}:{kind.__name__}"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (WithoutName, r"class attribute WithoutName\.name is missing, expected a text, .*; add it"),
        (WithoutSettings, r"WithoutSettings\.settings_class is missing, expected a frozen dataclass; add it"),
        (WithWrongSettings, r"WithWrongSettings\.settings_class is <class 'dict'>, expected a frozen dataclass"),
        (WithoutPhases, r"WithoutPhases\.phases is missing, expected a tuple"),
        (Unfinished, "class Unfinished lacks act, load_state_dict, .*, expected every method; add it"),
    ],
)
def test_an_agent_that_lacks_something_is_one_sentence(kind: type, words: str) -> None:
    """Breaks the first run of one's own agent: an AttributeError from inside the program says not what to write."""
    for use in (agent_settings, agent_phases, lambda name: agent_identity(name, CloneSettings())):
        with pytest.raises(MotoError, match=f"agent '{named(kind)}': .*{words}"):
            use(named(kind))


def test_an_agent_that_has_everything_is_taken() -> None:
    assert agent_class(named(CloneAgent).replace(__name__, "training_support")).name == "clone"
    assert isinstance(make_agent("training_support:CloneAgent", SPACES, CloneSettings(), 0), CloneAgent)


def test_a_setting_that_is_not_declared_as_a_parameter_is_one_sentence() -> None:
    """Breaks the first run of one's own agent: a KeyError names neither the field nor what to write."""
    with pytest.raises(
        MotoError, match=r"parameter 'agent\.rate': its field is not made by moto_ros\.config\.parameter"
    ):
        specs(PlainSettings, "agent.")
