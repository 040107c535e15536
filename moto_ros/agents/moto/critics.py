"""State-action critics, their slow copies, and the two losses they learn from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moto_ros.agents.common.networks import BatchedMLP
from moto_ros.agents.common.returns import discount_weights
from moto_ros.agents.moto.config import MotoSettings


class Critics(nn.Module):
    """N functions Q_i(s, a), and a target copy of them."""

    def __init__(self, settings: MotoSettings, feature: int, action: int) -> None:
        """Build N critics on feature and action; the target starts equal."""
        super().__init__()
        hidden = (settings.head_units,) * settings.head_layers
        self.online = BatchedMLP(settings.critic_count, feature + action, hidden, 1)
        self.target = BatchedMLP(settings.critic_count, feature + action, hidden, 1).requires_grad_(False)
        self.copy_to_target()

    def values(self, feature: Tensor, action: Tensor) -> Tensor:
        """Return Q_i of every online critic: (..., F), (..., A) -> (N, ...)."""
        joined = torch.cat((feature, action), -1)
        return self.online(joined.flatten(0, -2)).view(self.online.members, *joined.shape[:-1])

    def target_value(self, feature: Tensor, action: Tensor, member: int) -> Tensor:
        """Return one target critic's value: (..., F), (..., A) -> (...)."""
        joined = torch.cat((feature, action), -1)
        return self.target.single(joined.flatten(0, -2), member).view(joined.shape[:-1])

    def copy_to_target(self) -> None:
        """Make the target equal to the online critics."""
        self.target.load_state_dict(self.online.state_dict())


def imagined_loss(values: Tensor, returns: Tensor, discount: float) -> Tensor:
    """Return L_model: values (N, H, rows) against returns (H, rows), weighted by discount^(k+1), k = 0..H-2."""
    error = values[:, :-1] - returns[:-1]
    weights = discount * discount_weights(len(returns) - 1, discount, returns)
    return (weights * 0.5 * error.square()).mean()


def expanded_target(
    reward: Tensor, terminal: Tensor, value: Tensor, returns: Tensor, discount: float, mix: float
) -> Tensor:
    """Return y_t of real transitions: the logged reward, then the model's return from the state reached.

    All are (B, T), of the state reached: `value` is Qbar(s', a'), `returns` the lambda-return imagined from s'
    (model-based value expansion with TD(lambda) mixing).
    """
    future = (1 - mix) * value + mix * returns
    return reward + discount * (~terminal).to(reward.dtype) * future


def real_loss(values: Tensor, target: Tensor, is_first: Tensor) -> Tensor:
    """Return L_real: values (N, B, T) against targets (B, T), leaving out pairs that straddle two episodes."""
    valid = (~is_first).to(target.dtype)
    error = 0.5 * (values - target).square() * valid
    return error.mean(0).sum() / valid.sum().clamp(min=1)
