"""Finds the role of each topic of a bag, in any namespace."""

from __future__ import annotations

from collections.abc import Iterator

from moto_ros.data.layout import Problems, StepLayout, TopicMap


class RoleFinder:
    """Matches the topics of a bag with the configured ones.

    Without a configured namespace the first one found is used, and others are reported. A camera that is missing in the
    configured form, raw or compressed, is used in the other one.
    """

    def __init__(self, topics: TopicMap, layout: StepLayout) -> None:
        self.topics = topics
        self.wanted = topics.roles(layout)
        self.instead = topics.other_cameras(layout)
        self.prefix = topics.absolute("") if topics.namespace else ""
        self.found: dict[str, str] = {}

    def role(self, topic: str, problems: Problems) -> str:
        """Return the role of a topic, called once for each; empty when it has none."""
        for name, role in (self.wanted | self.instead).items():
            if topic == name or (topic.endswith(f"/{name}") and self._in_namespace(topic, name, problems)):
                return self._claim(topic, role, problems)
        return ""

    def _in_namespace(self, topic: str, name: str, problems: Problems) -> bool:
        prefix = topic[: -len(name)]
        if not self.prefix:
            self.prefix = prefix
        if prefix != self.prefix and not self.topics.namespace:
            text = f"{topic}: is in another namespace than {self.prefix}, which is used; set namespace to choose"
            problems.add("namespace", text)
        return prefix == self.prefix

    def _claim(self, topic: str, role: str, problems: Problems) -> str:
        if role in self.found.values():
            other = next(name for name, claimed in self.found.items() if claimed == role)
            problems.add(f"twice {role}", f"{topic}: {other} already is {role}; it is not used, or set camera_topics")
            return ""
        self.found[topic] = role
        return role

    def absent(self) -> Iterator[tuple[str, str]]:
        """Yield absolute name and role of the topics that are configured and not found."""
        optional = {
            "reward": self.topics.reward_source != "topic",
            "episode": self.topics.episode_source == "whole_bag",
        }
        for name, role in self.wanted.items():
            if role not in self.found.values() and not optional.get(role):
                yield name if name.startswith("/") else f"{self.prefix or '/'}{name}", role
