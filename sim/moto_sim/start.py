"""The console scripts of the nodes of this package; see `moto_ros.ros.start`."""

from __future__ import annotations

from functools import partial

from moto_ros.ros.start import start

sim_node = partial(start, "moto_sim.sim_node")
script_node = partial(start, "moto_sim.script_node")
franka_server = partial(start, "moto_sim.franka_server")
