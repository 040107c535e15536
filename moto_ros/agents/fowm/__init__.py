"""FOWM: Finetuning Offline World Models in the Real World (Feng et al., CoRL 2023, arXiv 2310.16029).

One phase, `joint`: each update is a model update, then a policy update; offline and online (`agent.FowmAgent.improve`).
A phase `base` before it, where there is a base policy.

Networks on latents z = E(o) (`model.FowmModel`):
  encoder E, dynamics z' = d(z, a), reward R(z, a), policy pi(z)    `encoder`, `advance`, `reward`, `policy`
  five Q(z, a), V(z); target networks of E and Q                    `q_values`, `value`, `step_targets`
Losses on windows of H steps, each step weighted by rho^j (`losses`):
  world model (TD-MPC): c_z |d(z, a) - E_target(o')|^2
                        + c_r (R - r)^2, and the two below          `model_loss`
  Q, in-sample TD target (IQL): y = r + gamma V(E(o'))              `critic_loss`
  V, expectile loss (IQL): L_tau(min of two target Q - V)           `critic_loss`
  policy (AWR): min(exp(beta (min Q - V)), 100) |pi(z) - a|^2 / 2   `policy_loss`
Acting with test-time regularisation (`agent.FowmAgent.act`):
  G = sum_t gamma^t (R - lambda u) + gamma^H (min of two Q - lambda u), u = std of the Q heads
  G, without and with lambda u                                      `score.Scorer`, `score.elite_scores`
  one MPPI iteration, and the loop within a deadline                `planner.Planner.iterate`, `planner.Planner.plan`
  which stages fit the deadline                                     `planning_time.PlanningTime`
Balanced sampling: half offline, half online, by priority           `agent.FowmAgent._draw`

Not published, off in preset `paper`, on in `quick` (`config`):
  base policy: cloned first; encoder begins from it; cloning stays   `agent.FowmAgent._update_base`, `losses.model_loss`
  advantage weights of solved episodes only, at most 10              `losses.policy_weight`
  penalty in units of u on data and of the range of Q                `score.Scorer.penalty`
  candidates around the base policy, which acts unless beaten        `planner.Planner.improve_base`
  success ends an episode, values are chances in [0, 1]              `losses.critic_loss`, `score.Scorer`

Differences from the authors' code (github fyhMer/fowm): steps after an episode's end do not count in the policy loss,
and priorities are in a sum tree. `two_hot`, `heads_style`, `latent` and `scale_free` are options from TD-MPC2.
"""
