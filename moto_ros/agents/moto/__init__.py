"""MOTO: a latent world model, pre-trained offline and fine-tuned online (Rafailov et al. 2023, arXiv 2401.03306).

MOTO is DreamerV2 (Hafner et al. 2021, arXiv 2010.02193) with three additions, named here as in the paper's abstract:
model-based value expansion [V], policy regularisation [P] and control of epistemic uncertainty [U]. A state
s = (h, z) has a recurrent part h and a stochastic part z; sg() stops the gradient.

phase "model": one update of the world model (DreamerV2, section 2.1)       agent.MotoAgent._update_model
    h_t = GRU(h_{t-1}, z_{t-1}, a_{t-1}),  z_t ~ q(z | h_t, o_t)             rssm.RSSM.observe
    prior p_j(z | h_t), one of K heads j drawn a step [U]                    rssm.RSSM.prior, draw_heads
    L = -ln p(o_t | s_t) - ln p(r_t | s_t) + KL                              world_model.WorldModel.loss
    KL = 0.2 KL(q || sg(p_j)) + 0.8 KL(sg(q) || p_j), with free nats         world_model.balanced_kl

phase "policy": one update of actor and critics (DreamerV2, section 2.2)    agent.MotoAgent._update_policy
    from every s_t: a_k ~ pi(. | sg(s_k)), s_{k+1} ~ p_j(. | s_k, a_k)       behaviour.imagine
    u(s, a) = mean over dimensions of the std over heads [U]                 world_model.disagreement
    r_k = r(s_{k+1}) - alpha u(s_k, a_k)  [U]                                behaviour.Rollout.penalised
    G_k = r_k + gamma [(1 - lambda) Q_{k+1} + lambda G_{k+1}]                common.returns.lambda_return
    L_actor = beta L_BC - J(Q, G)                                            behaviour.Behaviour.actor_loss
    L_BC = -ln pi(a_t | s_t) on successful episodes [P]                      actor.cloning_loss
    L_critic = L_model + L_real, imagined and real transitions [V]           behaviour.Behaviour.critic_loss

policy: edit (preset quick) has another policy on the same world model, learned from real episodes:
phase "base": clone what may be imitated; online a copy goes on with it     agent.MotoAgent._update_base
phase "policy": n-step targets y_i in [0, 1], cross entropy                 edit.EditPolicy.critic_loss
    edit f: a = clip(b + eps tanh f(s, b)), maximises mean_i Q_i             edit.EditPolicy.edit_loss
acting: the candidate whose paired gain over b is surely above the margin   edit.EditPolicy.choose

acting: filter one observation, draw from pi                                agent.MotoAgent.act, rssm.RSSM.filter
offline all "model" updates, then all "policy" updates; online both after each episode: config.MotoSettings.
"""
