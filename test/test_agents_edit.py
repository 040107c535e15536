"""Breaks fine-tuning: targets of the critics that choose, edits within their bound, the base policy that stays."""

from __future__ import annotations

import copy

import pytest
import torch
from agents_data import SPACES, RandomData, make_tiny, tiny, train
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moto_ros.agents.common.base_policy import BaseActions
from moto_ros.agents.common.exploration import CorrelatedNoise
from moto_ros.agents.interface import BASE, POLICY, ActRequest, Batch
from moto_ros.agents.moto.agent import MotoAgent
from moto_ros.agents.moto.edit import EditPolicy, Transitions, heads_of_episodes
from moto_ros.errors import MotoError

EDIT: dict[str, object] = {
    "policy": "edit",
    "base_latent_size": 8,
    "base_channels": 8,
    "base_hidden": 16,
    "base_heads": 3,
    "base_batch": 4,
    "edit_critics": 3,
    "edit_batch": 6,
    "edit_steps": 3,
}
LEARNED = ("all", "online", "failed")
"""Sources of data that hold something once a training episode has failed."""


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def make_editing(seed: int = 0, **changes: object) -> MotoAgent:
    return make_tiny(seed, **(EDIT | changes))


def observation(size: int = 1) -> Batch:
    return {name: tensor[:, 0] for name, tensor in RandomData().batch("all", size, 2).items()}


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def window(reward: list[float], terminal: list[bool], valid: list[bool], to_success: int) -> Batch:
    """Return one window of rows after the first, by what happened in each."""
    rows = len(reward) + 1
    return {
        "proprio": torch.zeros(1, rows, 2),
        "action": torch.zeros(1, rows, 3),
        "reward": torch.tensor([[0.0, *reward]]),
        "is_terminal": torch.tensor([[False, *terminal]]),
        "valid": torch.tensor([[True, *valid]]),
        "frame": torch.arange(rows)[None],
        "episode": torch.zeros(1, dtype=torch.int64),
        "steps_to_success": torch.full((1, rows), to_success),
    }


@pytest.mark.parametrize(
    ("reward", "terminal", "valid", "to_success", "expected"),
    [
        pytest.param([0, 0, 0], [0, 0, 0], [1, 1, 1], -1, (0.0, 0.9**3, 0.0), id="goes on"),
        pytest.param([0, 1, 1], [0, 1, 1], [1, 1, 1], 2, (0.9, 0.0, 0.9), id="success counts once"),
        pytest.param([1, 1, 1], [1, 1, 1], [1, 1, 1], 0, (1.0, 0.0, 1.0), id="after success"),
        pytest.param([0, 0, 0], [0, 0, 0], [1, 0, 0], -1, (0.0, 0.0, 0.0), id="a failure ends without value"),
        pytest.param([0, 0, 0], [0, 0, 0], [1, 1, 1], 11, (0.0, 0.9**3, 0.9**10), id="a success to come bounds"),
    ],
)
def test_targets_are_chances_of_success(
    reward: list[float], terminal: list[int], valid: list[int], to_success: int, expected: tuple[float, ...]
) -> None:
    rows = Transitions.of(window(reward, [*map(bool, terminal)], [*map(bool, valid)], to_success), gamma=0.9)
    found = [float(value) for value in (rows.reward, rows.discount, rows.floor)]
    assert found == pytest.approx(expected)


@given(st.integers(0, 2**16), st.floats(0.5, 1.0))
@settings(max_examples=10, deadline=None)
def test_a_target_never_leaves_zero_to_one(seed: int, gamma: float) -> None:
    """A reward of 1 in every row, as dense rewards may give, would make values climb above any chance."""
    edit, batch = EditPolicy(tiny(**EDIT), SPACES), RandomData(seed=seed).windows("all", 8, 4)
    batch["reward"][:] = 3.0
    rows = Transitions.of(batch, gamma)
    assert ((rows.reward >= 0) & (rows.reward <= 1)).all()
    assert ((rows.floor >= 0) & (rows.floor <= 1)).all()
    terms = edit.critic_loss(rows, torch.zeros(8, SPACES.action), torch.Generator().manual_seed(0))[2]
    assert 0 <= float(terms["q_target"]) <= 1


def test_an_edit_stays_within_a_bound_that_grows() -> None:
    """An arm would move further from what was shown than its operator has allowed."""
    edit = EditPolicy(tiny(**EDIT, edit_limit=0.3, edit_limit_first=0.1, edit_limit_updates=10), SPACES)
    edit.requires_grad_(False)
    torch.nn.init.normal_(edit.edit.output.weight, std=10.0)
    latent, action = torch.rand(200, 8), torch.zeros(200, 3)
    for updates, limit in ((0, 0.1), (5, 0.2), (10, 0.3), (50, 0.3)):
        edit.updates.fill_(updates)
        assert float(edit.edited(latent, action).abs().max()) == pytest.approx(limit, abs=1e-3)


def test_the_base_acts_unless_a_candidate_is_surely_better() -> None:
    edit = EditPolicy(tiny(**EDIT, edit_margin=0.02, edit_caution=0.2), SPACES).requires_grad_(False)
    edit.critic.heads.last.weight.mul_(20.0)
    torch.nn.init.orthogonal_(edit.edit.output.weight)
    latent, heads = torch.rand(50, 8), torch.rand(3, 50, 3) * 2 - 1
    action, chance, changed = edit.choose(latent, heads)
    candidates = torch.cat((heads.mean(0, keepdim=True), heads))
    candidates = torch.cat((candidates, edit.edited(latent.expand(4, -1, -1), candidates)))
    assert changed.any(), "nothing is chosen here, so this test shows nothing"
    assert (action - candidates).abs().amax(-1).amin(0).max() < 1e-6
    values = edit.critic.logits(latent.expand(len(candidates), -1, -1), candidates).sigmoid()
    gain = (values - values[:, :1]).mean(0) - 0.2 * (values - values[:, :1]).std(0)
    assert torch.equal(changed, gain.amax(0) >= 0.02)
    torch.testing.assert_close(action[~changed], heads.mean(0)[~changed])
    assert ((chance >= 0) & (chance <= 1)).all()
    _, _, never = EditPolicy(tiny(**EDIT, edit_margin=1.0), SPACES).choose(latent, heads)
    assert not never.any()


def test_exploring_noise_goes_on_in_one_direction_and_some_episodes_have_none() -> None:
    settings = tiny(explore_std=0.1, explore_correlation=0.9, quiet_episodes=0.3)
    noise, generator = CorrelatedNoise(settings), torch.Generator().manual_seed(0)
    state, drawn = noise.start(4000, 1, torch.device("cpu")), []
    for _ in range(40):
        step, state = noise.draw(state, generator)
        drawn.append(step[:, 0])
    steps = torch.stack(drawn)
    quiet = (steps == 0).all(0)
    assert float(quiet.float().mean()) == pytest.approx(0.3, abs=0.03)
    loud = steps[:, ~quiet]
    assert float(loud.std()) == pytest.approx(0.1, abs=0.005)
    assert float(torch.corrcoef(torch.stack((loud[10], loud[11])))[0, 1]) == pytest.approx(0.9, abs=0.02)


def test_base_actions_of_a_row_do_not_depend_on_its_batch() -> None:
    """A run split by a checkpoint would end with other weights than the whole run."""
    agent, calls = make_editing(), []

    def actions(seen: Batch) -> Tensor:
        calls.append(len(seen["image"]))
        return agent.network.base.actions(seen)  # type: ignore[union-attr]

    known, seen = BaseActions(actions), observation(6)
    frames = torch.tensor([3, 700, 5, 3, 9, 12])
    together = known(seen, frames)
    assert calls == [1] * 5, "a row that is known is computed again, or several at once"
    alone = BaseActions(actions)({name: tensor[4:5] for name, tensor in seen.items()}, frames[4:5])
    assert torch.equal(together[4], alone[0])
    assert torch.equal(together[0], together[3])
    known.clear()
    assert torch.equal(known(seen, frames), together)


def test_each_critic_learns_from_its_own_share_of_the_episodes() -> None:
    """Critics that agree everywhere say nothing of what they do not know, and every edit seems sure."""
    heads = heads_of_episodes(torch.arange(0, 20_000, 61), 8, 0.6)
    assert heads.float().mean(1).sub(0.6).abs().max() < 0.08
    both = torch.corrcoef(heads.float()).fill_diagonal_(0).abs().max()
    assert both < 0.25
    assert torch.equal(heads_of_episodes(torch.tensor([61 * 5]), 8, 0.6)[:, 0], heads[:, 5])
    assert heads_of_episodes(torch.arange(100), 8, 1.0).all()


def test_learning_leaves_the_base_policy_as_it_is() -> None:
    """The floor of fine-tuning would sink."""
    agent, data = make_editing(), RandomData(sources=LEARNED)
    train(agent, data, 2)
    before = {name: tensor.clone() for name, tensor in agent.network.base.state_dict().items()}  # type: ignore[union-attr]
    for _ in range(3):
        assert agent.update("policy", data)
    assert equal(before, dict(agent.network.base.state_dict()))  # type: ignore[union-attr]
    heads = agent.network.base.actions(observation(4))  # type: ignore[union-attr]
    acted = agent.act(observation(4), agent.start(4), ActRequest(sample=False, arm=BASE)).action
    assert torch.equal(acted, heads.mean(0))


def test_a_copy_of_the_base_learns_on_and_the_base_stays() -> None:
    """What a person shows while fine-tuning would be lost, or the floor would move."""
    agent, seen = make_editing(online_base_updates=1), observation(4)

    def actions(arm: str) -> Tensor:
        return agent.act(seen | {"action": torch.zeros(4, 3)}, agent.start(4), ActRequest(sample=False, arm=arm)).action

    for _ in range(3):
        agent.update("base", RandomData())
    before = actions(BASE)
    assert torch.equal(actions(POLICY), before)
    for _ in range(3):
        agent.update("base", RandomData(sources=LEARNED))
    assert torch.equal(actions(BASE), before)
    assert not torch.equal(actions(POLICY), before)
    acting = make_editing(seed=1, online_base_updates=1)
    acting.load_weights(agent.weights())
    observed = seen | {"action": torch.zeros(4, 3)}
    for arm in (BASE, POLICY):
        taken = acting.act(observed, acting.start(4), ActRequest(sample=False, arm=arm)).action
        assert torch.equal(taken, actions(arm))


def test_actions_that_may_not_be_imitated_are_not_cloned() -> None:
    """Breaks learning from help: what made it necessary would be cloned, too."""
    network, batch = make_editing().network.base, RandomData().windows("all", 8, 2)  # type: ignore[union-attr]
    batch["imitable"] = torch.arange(8)[:, None].expand(8, 2) < 3
    some = {name: rows[:3] for name, rows in batch.items()}
    policy = network.newest  # type: ignore[union-attr]

    def loss(of: Batch, only: bool) -> float:
        fresh = copy.deepcopy(policy)  # its normaliser counts what it sees
        fresh.encoder.update_normaliser = lambda batch: None  # type: ignore[method-assign]
        return fresh.loss(of, False, torch.Generator(), imitable_only=only).item()

    assert loss(batch, True) == pytest.approx(loss(some, True))
    assert loss(batch, True) != pytest.approx(loss(batch, False))
    none = batch | {"imitable": torch.zeros(8, 2, dtype=torch.bool)}
    assert loss(none, True) == 0
    drawn = network.draw(RandomData(successes=False))  # type: ignore[union-attr]
    assert drawn["imitable"].all(), "with nothing to imitate all is cloned"


def test_critics_learn_nothing_before_there_is_a_failure() -> None:
    """Values from successes alone are 1 everywhere, and every edit looks good."""
    agent = make_editing()
    assert agent.update("policy", RandomData(sources=("all", "online"))) == {}
    decision = agent.act(observation(), agent.start(1), ActRequest(sample=False))
    assert decision.figures == {}, "a chance of success is published that nothing stands behind"
    assert agent.update("policy", RandomData(sources=LEARNED))["critic_loss"] > 0
    decision = agent.act(observation(), agent.start(1), ActRequest(sample=False))
    assert 0 <= decision.figures["success_probability"] <= 1


def test_an_editing_run_split_by_a_checkpoint_equals_the_whole_run_to_the_bit() -> None:
    whole, first, second = make_editing(), make_editing(), make_editing(seed=9)
    data = RandomData(sources=LEARNED), RandomData(sources=LEARNED)
    train(whole, data[0], 7)
    train(first, data[1], 4)
    second.load_state_dict(first.state_dict())
    train(second, data[1], 3)
    assert equal(whole.state_dict(), second.state_dict())


@pytest.mark.parametrize("arm", ["", BASE, POLICY])
def test_the_policy_side_acts_as_the_learner_after_taking_its_weights(arm: str) -> None:
    learner, actor = make_editing(seed=1, edit_margin=0.0), make_editing(seed=2, edit_margin=0.0)
    train(learner, RandomData(sources=LEARNED), 3)
    actor.load_weights(learner.weights())
    decisions = [
        agent.act(
            observation(2),
            agent.start(2),
            ActRequest(sample=True, arm=arm, generator=torch.Generator().manual_seed(5)),
        )
        for agent in (learner, actor)
    ]
    assert torch.equal(decisions[0].action, decisions[1].action)
    assert decisions[0].figures == decisions[1].figures
    assert decisions[0].figures.keys() == {"success_probability"} | (set() if arm == BASE else {"edited"})


def test_until_the_warm_up_is_over_critics_learn_and_the_base_action_acts() -> None:
    """Breaks fine-tuning: edits of critics that know nothing yet cost episodes that the base policy would solve."""
    agent = make_editing(edit_warm_up=3, edit_limit_first=0.3, edit_margin=0.0)
    request, seen = ActRequest(sample=False, arm=POLICY), observation(2)
    for _ in range(3):
        train(agent, RandomData(sources=LEARNED), 1)
        heads = (agent.network.copy or agent.network.base).actions(seen)
        decision = agent.act(seen, agent.start(2), request)
        assert torch.equal(decision.action, heads.mean(0))
        assert decision.figures.keys() == {"success_probability"}
        assert float(agent.network.edit.limit) == pytest.approx(0.3)
    assert int(agent.network.edit.updates) == 3
    train(agent, RandomData(sources=LEARNED), 1)
    assert "edited" in agent.act(seen, agent.start(2), request).figures


def test_critics_tell_success_from_failure() -> None:
    """Nothing that acts by the critics could gain."""
    agent = make_editing(edit_rate=3e-3)
    data = RandomData(sources=LEARNED)
    base = data.windows

    def windows(source: str, size: int, length: int, prioritised: object = None) -> Batch:
        batch = base(source, size, length)
        solved = source == "successful"
        batch["image"][:] = 200 if solved else 20
        batch["reward"][:] = 0.0
        batch["is_terminal"][:] = False
        batch["valid"][:] = solved
        batch["valid"][:, 0] = True
        batch["steps_to_success"][:] = 3 if solved else -1
        return batch

    data.windows = windows  # type: ignore[method-assign]
    for _ in range(150):
        figures = agent.update("policy", data)
    assert figures["q_solved"] > 0.7
    assert figures["q_failed"] < 0.3


def test_an_average_that_nothing_acts_by_is_refused() -> None:
    """A user would wait for a smoother policy, and get the same one."""
    with pytest.raises(MotoError, match=r"'actor_ema' is 0\.9, expected 0 with policy: edit"):
        make_editing(actor_ema=0.9)
