"""MotoAgent: acting, learning, ablations, weights, resumption."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agents_data import SPACES, RandomData, make_tiny, tiny, train
from torch import Tensor

from moto_ros.agents.common.augment import shift_chunks
from moto_ros.agents.interface import ActRequest, Batch, Spaces
from moto_ros.agents.moto.actor import cloning_loss
from moto_ros.agents.moto.agent import MotoAgent
from moto_ros.agents.moto.behaviour import imagine
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.agents.moto.rssm import Latent
from moto_ros.agents.moto.world_model import centred
from moto_ros.agents.registry import agent_settings, make_agent
from moto_ros.config import build, read_parameters, shipped
from moto_ros.errors import MotoError

KINDS: list[dict[str, object]] = [
    {},
    {"latent": "categorical", "classes": 4, "ensemble_kind": "side"},
    {"uncertainty": False, "behaviour_prior": False, "value_expansion": False},
    {"actor_ema": 0.8, "reset_actor_ema": True, "model_bc_scale": 10.0, "image_shift": 2},
]


def observation(data: RandomData, size: int = 1) -> Batch:
    """Return one observation for a batch of robots."""
    return {name: tensor[:, 0] for name, tensor in data.batch("all", size, 2).items()}


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Return whether two sets of tensors are the same to the bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("changes", KINDS)
def test_one_seed_gives_one_result_to_the_bit(changes: dict[str, object]) -> None:
    agents = [make_tiny(seed=3, **changes) for _ in range(2)]
    for agent in agents:
        train(agent, RandomData(), 4)
    assert equal(*(agent.state_dict() for agent in agents))
    assert not equal(make_tiny(seed=4, **changes).weights(), make_tiny(seed=3, **changes).weights())


@pytest.mark.parametrize("changes", KINDS)
def test_a_run_split_by_a_checkpoint_equals_the_whole_run_to_the_bit(changes: dict[str, object]) -> None:
    whole, first, second = make_tiny(**changes), make_tiny(**changes), make_tiny(seed=9, **changes)
    data = RandomData(), RandomData()
    train(whole, data[0], 7)
    train(first, data[1], 4)
    second.load_state_dict(first.state_dict())
    train(second, data[1], 3)
    assert equal(whole.state_dict(), second.state_dict())


def test_a_checkpoint_does_not_change_while_training_continues() -> None:
    agent = make_tiny()
    saved = agent.state_dict()
    copy = {name: tensor.clone() for name, tensor in saved.items()}
    train(agent, RandomData(), 2)
    assert equal(saved, copy)


def test_the_policy_side_acts_as_the_learner_after_taking_its_weights() -> None:
    learner, actor, data = make_tiny(seed=1), make_tiny(seed=2), RandomData()
    train(learner, data, 3)
    actor.load_weights(learner.weights())
    seen = observation(data, 2)
    decisions = [
        agent.act(seen, agent.start(2), ActRequest(sample=True, generator=torch.Generator().manual_seed(5)))
        for agent in (learner, actor)
    ]
    assert torch.equal(decisions[0].action, decisions[1].action)
    assert torch.equal(decisions[0].uncertainty, decisions[1].uncertainty)


def test_an_averaged_policy_acts_by_the_mean_of_its_newest_weights_and_learns_the_same() -> None:
    """One unlucky batch just before an episode would decide how the arm acts."""
    plain, smooth = make_tiny(), make_tiny(actor_ema=0.99)
    seen = []
    for _ in range(3):
        for agent in (plain, smooth):
            agent.update("policy", RandomData())
        seen.append({name: value for name, value in plain.weights().items() if name.startswith("actor/")})
    acting = smooth.weights()
    assert seen[0]
    for name in seen[0]:
        torch.testing.assert_close(acting[name], torch.stack([weights[name] for weights in seen]).mean(0))
    learned = [dict(agent.behaviour.actor.state_dict()) for agent in (plain, smooth)]
    assert equal(*learned)


@pytest.mark.parametrize("restart", [True, False])
def test_a_restarted_average_drops_policies_trained_on_the_previous_model(restart: bool) -> None:
    """Policies trained on the latents of an older model would be part of the average that acts."""
    agent, data = make_tiny(actor_ema=0.99, reset_actor_ema=restart), RandomData()
    for phase in ("policy", "policy", "model", "policy"):
        agent.update(phase, data)
    newest = agent.behaviour.actor.state_dict()
    acting = {name: value for name, value in agent.weights().items() if name.startswith("actor/")}
    assert all(torch.equal(acting[f"actor/{name}"], value) for name, value in newest.items()) == restart
    assert len(acting) == len(newest)


@pytest.mark.parametrize(("asked", "expected"), [(0, 3), (1, 1)])
def test_a_policy_update_imagines_from_policy_batch_chunks(asked: int, expected: int) -> None:
    """A run would take twice as long as its preset says."""
    agent, data = make_tiny(policy_batch=asked), RandomData()
    agent.update("policy", data)
    agent.update("model", data)
    assert list(zip(data.drawn, data.sizes, strict=True)) == [("all", expected), ("successful", 2), ("all", 3)]


def test_acting_by_the_mean_equals_the_average_of_samples() -> None:
    """Demonstrations at the limits put the mode at the limits, far from the mean action."""
    agent = make_tiny(eval_action="mean")
    decision = agent.act(observation(RandomData()), agent.start(1), ActRequest(sample=False))
    policy = agent.behaviour.actor(Latent(**decision.state).feature.expand(50_000, -1))
    drawn = policy.sample(torch.Generator().manual_seed(0)).mean(0)
    torch.testing.assert_close(decision.action[0], drawn, atol=0.01, rtol=0)
    assert (policy.mode()[0] - drawn).abs().max() > 0.02, "mode and mean are too alike here to tell them apart"


@pytest.mark.parametrize("sample", [True, False])
def test_actions_are_within_limits_and_carry_state_and_uncertainty(sample: bool) -> None:
    agent, data = make_tiny(), RandomData()
    decision = agent.act(observation(data, 4), agent.start(4), ActRequest(sample=sample))
    assert decision.action.shape == (4, 3)
    assert decision.action.abs().max() <= 1
    assert decision.uncertainty.shape == (4,)
    assert (decision.uncertainty > 0).all()
    assert {name: len(tensor) for name, tensor in decision.state.items()} == {"deter": 4, "stoch": 4}


def broken(kind: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights damaged in one way."""
    name = "actor/network.0.weight"
    if kind == "missing":
        return {key: value for key, value in weights.items() if key != name}
    if kind == "unknown":
        return weights | {"unknown_tensor": torch.zeros(1)}
    if kind == "shape":
        return weights | {name: weights[name][:, :-1]}
    return weights | {name: torch.full_like(weights[name], torch.nan)}


@pytest.mark.parametrize("kind", ["missing", "unknown", "shape", "NaN"])
def test_weights_that_do_not_fit_are_rejected_and_nothing_changes(kind: str) -> None:
    agent, other = make_tiny(seed=1), make_tiny(seed=2)
    before = agent.weights()
    named = "unknown_tensor" if kind == "unknown" else "actor/network.0.weight"
    with pytest.raises(MotoError, match=named) as caught:
        agent.load_weights(broken(kind, other.weights()))
    assert "\n" not in str(caught.value)
    assert equal(agent.weights(), before)


def test_a_checkpoint_of_other_settings_is_rejected_and_nothing_changes() -> None:
    agent = make_tiny()
    before = agent.state_dict()
    with pytest.raises(MotoError, match="checkpoint of agent moto"):
        agent.load_state_dict(make_tiny(deter=20).state_dict())
    assert equal(agent.state_dict(), before)


def test_tensors_have_the_names_that_older_checkpoints_have() -> None:
    """Breaks resumption: a run of an earlier release would be refused for a missing tensor."""
    agent = make_tiny(actor_ema=0.9)
    names = agent.state_dict().keys()
    assert {name.split("/")[0] for name in names} == {"model", "behaviour", "average", "optimizer", "rng"}
    for name in (
        "model/rssm.cell.dense.weight",
        "model/rssm.heads.layers.0.weight",
        "model/normaliser.seen",
        "model/reward_head.0.weight",
        "behaviour/actor.network.0.weight",
        "behaviour/critics.target.layers.0.weight",
        "behaviour/updates",
        "average/n_averaged",
        "average/module.network.0.weight",
        "optimizer/model/encoder.layers.0.weight/exp_avg",
        "optimizer/actor/network.0.weight/step",
        "optimizer/critic/layers.0.weight/exp_avg_sq",
        "rng/update",
        "rng/act",
    ):
        assert name in names
    parts = {name.split(".")[0] for name in agent.weights() if name.startswith("model/")}
    assert parts == {"model/encoder", "model/normaliser", "model/proprio_encoder", "model/rssm"}


def test_each_phase_changes_its_own_networks_only() -> None:
    agent, data = make_tiny(), RandomData()
    for phase, part in (("model", "model"), ("policy", "behaviour")):
        before = agent.state_dict()
        agent.update(phase, data)
        changed = {name for name, tensor in agent.state_dict().items() if not torch.equal(tensor, before[name])}
        assert {name.split("/")[0] for name in changed} - {"optimizer", "rng"} == {part}


def test_switching_everything_off_leaves_dreamer_v2_with_a_q_function() -> None:
    agent, data = make_tiny(uncertainty=False, behaviour_prior=False, value_expansion=False), RandomData()
    agent.update("model", data)
    metrics = agent.update("policy", data)
    assert data.drawn == ["all", "all"]
    assert agent.model.rssm.heads.members == 1
    assert agent.behaviour.critics.online.members == 1
    assert metrics["penalty"] == metrics["uncertainty"] == 0
    assert metrics["actor_loss"] == -metrics["objective"]
    assert metrics["critic_loss"] == metrics["critic_model_loss"]


@pytest.mark.parametrize(
    ("switch", "absent"),
    [("behaviour_prior", {"bc_loss", "prior_norm"}), ("value_expansion", {"critic_real_loss"})],
)
def test_each_switch_removes_its_own_term_and_no_other(switch: str, absent: set[str]) -> None:
    full, part = (set(make_tiny(**{switch: on}).update("policy", RandomData())) for on in (True, False))
    assert full - part == absent


def test_the_penalty_lowers_the_imagined_reward_by_alpha_times_the_uncertainty() -> None:
    agent = make_tiny(alpha=4.0)
    start = agent.model.rssm.start(5)
    rollout = imagine(agent.model, agent.behaviour.actor, start, 4, torch.Generator().manual_seed(0))
    assert rollout.feature.shape[:2] == rollout.action.shape[:2] == (4, 5)
    assert rollout.reward.shape == rollout.uncertainty.shape == (3, 5)
    torch.testing.assert_close(rollout.penalised(4.0), rollout.reward - 4.0 * rollout.uncertainty)


def test_the_policy_gradient_flows_through_the_imagined_dynamics() -> None:
    """Otherwise the first action would get no credit for rewards of later steps."""
    agent = make_tiny()
    start = Latent(torch.randn(5, 16), torch.randn(5, 6))
    rollout = imagine(agent.model, agent.behaviour.actor, start, 4, torch.Generator())
    first = agent.behaviour.actor.network[0].weight
    late = torch.autograd.grad(rollout.reward[-1].sum(), first, retain_graph=True)[0]
    assert late.abs().sum() > 0
    assert torch.autograd.grad(rollout.reward[0].sum(), first)[0].abs().sum() > 0


def test_cloning_imitates_the_action_taken_at_a_state_not_the_one_that_led_to_it() -> None:
    agent, batch = make_tiny(), RandomData().batch("all", 2, 4)
    latent = Latent(torch.randn(2, 4, 16), torch.randn(2, 4, 6))
    policy = agent.behaviour.actor(latent.feature[:, :-1])
    expected = -policy.log_prob(batch["action"][:, 1:]).mean()
    torch.testing.assert_close(cloning_loss(agent.behaviour.actor, latent.feature, batch), expected)


def test_the_model_learns_from_shifted_images_and_the_policy_from_unshifted_ones() -> None:
    """Shifted frames would not be in the encoding cache, and the policy never acts on shifted ones."""
    agent, seen = make_tiny(image_shift=2), []
    agent.model.encoder.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    for phase in agent.phases:
        agent.update(phase, RandomData())
    drawn = RandomData().batch("all", agent.settings.batch, agent.settings.length)["image"]
    moved = shift_chunks(drawn, 2, torch.Generator().manual_seed(0))
    assert not torch.equal(drawn, moved)
    for found, expected in zip(seen, (moved, drawn), strict=True):
        torch.testing.assert_close(found[: drawn.shape[:2].numel()], centred(expected.flatten(0, 1)))


def test_without_any_success_the_policy_learns_without_a_prior() -> None:
    data = RandomData(successes=False)
    assert "bc_loss" not in make_tiny().update("policy", data)
    assert "successful" not in data.drawn


class ShortSuccesses(RandomData):
    """Successful prefixes that are shorter than a chunk, as kitchen episodes may leave."""

    def batch(self, source: str, size: int, length: int) -> Batch:
        """Draw chunks of two steps less from the successful source."""
        return super().batch(source, size, length - 2 if source == "successful" else length)


def test_successes_shorter_than_a_chunk_still_teach_the_prior() -> None:
    agent = make_tiny()
    assert np.isfinite(agent.update("policy", ShortSuccesses())["bc_loss"])


def test_target_critics_are_copied_every_target_every_updates() -> None:
    agent, data = make_tiny(target_every=2), RandomData()
    critics = agent.behaviour.critics
    for copied in (False, True, False):
        agent.update("policy", data)
        assert equal(dict(critics.target.state_dict()), dict(critics.online.state_dict())) is copied


def test_model_and_policy_improve_on_a_task_that_rewards_one_action() -> None:
    """Reward is 1 when the first action entry is positive: the policy must find that in the model."""
    spaces = Spaces(image=None, proprio=2, action=3)
    agent = make_tiny(spaces=spaces, batch=16, model_rate=3e-3, actor_rate=3e-3, critic_rate=3e-3, beta=0.0, alpha=0.0)
    data = RandomData(spaces)
    losses = [agent.update("model", data)["reward_loss"] for _ in range(250)]
    figures = [agent.update("policy", data) for _ in range(60)]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])
    assert figures[-1]["imagined_reward"] > figures[0]["imagined_reward"] + 0.2
    decision = agent.act(observation(data, 32), agent.start(32), ActRequest(sample=False))
    assert decision.action[:, 0].mean() > 0.3


def test_video_shows_truth_and_an_open_loop_prediction_of_the_same_shape() -> None:
    agent = make_tiny()
    batch = RandomData().batch("all", 2, 6)
    truth, predicted = agent.video(batch, context=2)
    assert np.array_equal(truth, batch["image"].numpy())
    assert predicted.shape == truth.shape
    assert predicted.dtype == np.uint8
    batch["image"][:, 2:] = 0
    assert np.array_equal(agent.video(batch, context=2)[1], predicted), "frames after the context must not be seen"


def test_video_without_a_camera_is_an_error() -> None:
    spaces = Spaces(image=None, proprio=2, action=3)
    with pytest.raises(MotoError, match="no camera"):
        make_tiny(spaces=spaces).video(RandomData(spaces).batch("all", 1, 6))


@pytest.mark.parametrize("preset", ["moto_quick", "moto_imagined", "moto_quick_many", "moto_ci", "moto_paper"])
def test_every_shipped_preset_is_valid(preset: str) -> None:
    values = read_parameters(shipped("agents", preset))
    flat = {name.removeprefix("agent."): value for name, value in values.items() if name.startswith("agent.")}
    settings = build(MotoSettings, flat, preset)
    assert len(flat) == len(values)
    assert settings.offline_model_updates > 0


def test_the_paper_preset_is_the_default_of_every_setting() -> None:
    values = read_parameters(shipped("agents", "moto_paper"))
    flat = {name.removeprefix("agent."): value for name, value in values.items()}
    assert build(MotoSettings, flat, "moto_paper") == MotoSettings()


def test_agents_are_made_by_name_and_unknown_names_get_a_hint() -> None:
    assert isinstance(make_agent("moto", SPACES, tiny(), 0), MotoAgent)
    assert agent_settings("moto") is MotoSettings
    with pytest.raises(MotoError, match="did you mean moto"):
        agent_settings("motto")
    with pytest.raises(MotoError, match="expected MotoSettings"):
        make_agent("moto", SPACES, {"deter": 3}, 0)


def test_an_unknown_phase_is_an_error() -> None:
    with pytest.raises(MotoError, match="no phase 'dream'"):
        make_tiny().update("dream", RandomData())


@pytest.mark.parametrize("changes", [*KINDS, {"model_bc_scale": 1.0, "kl_all_heads": True}])
def test_mixed_precision_learns_with_weights_of_full_precision(changes: dict[str, object]) -> None:
    """Breaks training on a GPU: bfloat16 where a distribution or a loss needs float32, or weights in halves."""
    half, full = make_tiny(precision="bfloat16", **changes), make_tiny(**changes)
    for phase, loss in (("model", "model_loss"), ("policy", "critic_loss")):
        found, expected = (agent.update(phase, RandomData())[loss] for agent in (half, full))
        assert found == pytest.approx(expected, rel=0.3, abs=0.1)
    assert all(torch.isfinite(tensor).all() for tensor in half.state_dict().values())
    assert {tensor.dtype for tensor in half.weights().values() if tensor.is_floating_point()} == {torch.float32}


@pytest.mark.slow
def test_compiled_steps_learn_what_plain_ones_do() -> None:
    """Breaks training on a GPU: the compiler fails silently, or gives other numbers."""
    compiled, plain = make_tiny(compile_steps=True), make_tiny()
    for phase, loss in (("model", "model_loss"), ("policy", "critic_loss")):
        found, expected = (agent.update(phase, RandomData())[loss] for agent in (compiled, plain))
        assert found == pytest.approx(expected, rel=1e-3)
    rssm, actor = compiled.model.rssm, compiled.behaviour.actor
    assert [part.failed for part in (rssm.filter_step, rssm.advance_step, actor.draw)] == ["", "", ""]
