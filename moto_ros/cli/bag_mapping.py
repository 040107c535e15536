"""The options that define how the messages of a bag become steps, for commands that read or write bags."""

from __future__ import annotations

from moto_ros.config import build, part
from moto_ros.data.layout import StepLayout, TopicMap
from moto_ros.nodes.learning_settings import trainer_settings
from moto_ros.systems.bringup import resolve

MAPPING = ("task", "parameters", "preset", "agent")
"""Arguments that define how messages become steps."""


def mapping(given: dict[str, str]) -> tuple[StepLayout, TopicMap]:
    """Return the layout and topics with which the trainer would read these bags."""
    (trainer,) = resolve("pretrain", given).processes
    settings = build(trainer_settings({"agent_name": given.get("agent", "moto")}), trainer.parameters, "trainer")
    return part(settings, StepLayout), settings.topics
