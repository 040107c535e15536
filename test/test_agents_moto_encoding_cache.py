"""Cached image encodings: policy updates learn the same to the bit as without the cache, and encode a frame once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from agents_data import SPACES, RandomData, make_tiny, train
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from moto_ros.agents.interface import Batch
from moto_ros.agents.moto.encoding_cache import ENCODE_MULTIPLE, EncodingCache
from moto_ros.data.episode import Episode
from moto_ros.data.replay import ReplayStore
from moto_ros.training.learner import StoreData

FRAMES = 30


def pictures(count: int = FRAMES, side: int = 32) -> Tensor:
    """Return one image of its own for each frame number: uint8 (count, side, side, 3)."""
    return torch.from_numpy(np.random.default_rng(5).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


@dataclass
class Recorded(RandomData):
    """Chunks whose images are those of a few numbered frames, as a store's are."""

    def batch(self, source: str, size: int, length: int) -> Batch:
        """Draw chunks of successive frames."""
        batch = super().batch(source, size, length)
        starts = torch.from_numpy(self._rng.integers(0, FRAMES - length, size))
        batch["frame"] = starts[:, None] + torch.arange(length)
        batch["image"] = pictures()[batch["frame"]]
        return batch


def trained(remembered: int, split: bool = False) -> dict[str, Tensor]:
    """Return what an agent has learned in model and policy updates; `split` by a checkpoint between policy updates."""
    agent, data = make_tiny(encoding_cache_frames=remembered), Recorded()
    train(agent, data, 3)
    for _ in range(2):
        agent.update("policy", data)
    if split:
        saved, agent = agent.state_dict(), make_tiny(seed=9, encoding_cache_frames=remembered)
        agent.update("policy", Recorded(seed=1))
        agent.load_state_dict(saved)
    for _ in range(3):
        agent.update("policy", data)
    return agent.state_dict()


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("remembered", [FRAMES, FRAMES - 8])
def test_caching_encodings_changes_no_bit_of_what_is_learned(remembered: int, split: bool) -> None:
    """The policy would learn from encodings of an older model, or a resumed run would differ from the whole one."""
    plain, found = trained(0), trained(remembered, split)
    assert plain.keys() == found.keys()
    assert all(torch.equal(plain[name], found[name]) for name in plain)


@given(
    calls=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(
            lambda shape: st.lists(
                st.lists(st.integers(0, FRAMES - 1), min_size=shape[1], max_size=shape[1]),
                min_size=shape[0],
                max_size=shape[0],
            )
        ),
        min_size=1,
        max_size=6,
    ),
    limit=st.integers(0, FRAMES + 5),
)
def test_every_frame_has_its_own_encoding_in_any_order_of_requests(calls: list[list[list[int]]], limit: int) -> None:
    """A chunk would be filtered with the images of other moments."""
    images = pictures(side=2)
    cache = EncodingCache(lambda rows: rows.flatten(1).float() / 255, limit)
    for number, call in enumerate(calls):
        frames = torch.tensor(call)
        assert torch.equal(cache(images[frames], frames), images[frames].flatten(2).float() / 255)
        if number == 2:
            cache.clear()


def test_a_frame_is_encoded_once_until_the_encoder_changes() -> None:
    """Updates would take as long as without the cache."""
    images, sizes = pictures(side=2), []

    def encode(rows: Tensor) -> Tensor:
        sizes.append(len(rows))
        return rows.flatten(1).float()

    cache, frames = EncodingCache(encode, FRAMES), torch.arange(20).expand(3, 20)
    for _ in range(3):
        cache(images[frames], frames)
    cache(images[frames + 5], frames + 5)
    assert sizes == [2 * ENCODE_MULTIPLE, ENCODE_MULTIPLE]
    cache.clear()
    cache(images[frames], frames)
    assert sizes == [2 * ENCODE_MULTIPLE, ENCODE_MULTIPLE, 2 * ENCODE_MULTIPLE]


def episode(number: int, steps: int = 9) -> Episode:
    """Return a short successful episode of noise."""
    rng, rows = np.random.default_rng(number), steps + 1
    reward = np.ones(rows, np.float32)
    return Episode(
        images={"agent": rng.integers(0, 256, (rows, *(SPACES.image or ())), dtype=np.uint8)},
        proprio=rng.normal(size=(rows, SPACES.proprio)).astype(np.float32),
        action=rng.uniform(-1, 1, (rows, SPACES.action)).astype(np.float32),
        reward=reward,
        success=reward > 0,
        is_terminal=np.zeros(rows, bool),
        stamps=np.arange(1, rows + 1, dtype=np.int64),
        info={"id": number},
    )


def test_policy_updates_from_a_replay_encode_its_frames_once(tmp_path: Path) -> None:
    """If the replay no longer numbered its frames, every update would silently take as long as without the cache."""
    store = ReplayStore(tmp_path)
    for number in range(2):
        store.add(episode(number), None, "offline")
    data = StoreData(store, np.random.default_rng(0), torch.device("cpu"))
    agent, sizes = make_tiny(encoding_cache_frames=100), []
    assert agent.model.encoder is not None
    agent.model.encoder.register_forward_hook(lambda module, images, encoded: sizes.append(len(encoded)))
    for _ in range(30):
        agent.update("policy", data)
    assert sum(sizes) <= 20 * ENCODE_MULTIPLE
    assert len(sizes) < 20
