"""Process of a simulated Franka arm behind the real network protocol: `python -m moto_sim.franka_process`.

It serves ports 1337 (arm) and 1338 (hand) of one loopback address until its standard input ends and its client has
disconnected. Lines on the input raise and clear faults: `fault <error> [stubborn]`, `clear`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from collections.abc import Sequence
from functools import partial

from franky_sim.mujoco_simulator import MujocoSimulator

from moto_ros.stopping import handle_signals, leave_with_success
from moto_sim.franka_protocol import ERRORS, Simulation

SERVES = "a simulated Franka arm serves on"
HOME = (0.0, -0.7854, 0.0, -2.3562, 0.0, 1.5708, 0.7854)
"""Joint positions that the arm starts in, rad."""

DAMPING = (450.0, 450.0, 350.0, 350.0, 60.0, 60.0, 60.0)
"""N m s/rad of the arm's inner controller; with franky-sim's own 200 the light wrist joints chatter indefinitely."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the input ends or SIGINT, SIGTERM or SIGHUP arrives; return 1 if the address is in use."""
    handle_signals(leave_with_success)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1", help="loopback address to serve on")
    parser.add_argument("--without-hand", action="store_true", help="an arm without a gripper")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # the simulator's loggers report every command
    with MujocoSimulator(enable_visualization=False) as simulator:
        robot = simulator.add_robot(initial_q=HOME, kv=DAMPING)
        if options.without_hand:
            robot._BaseRobot__has_gripper = False
        return _serve(Simulation(simulator, options.address), options.address)


def _serve(simulation: Simulation, address: str) -> int:
    try:
        simulation.init()
    except OSError as error:
        print(f"error: {address}: {error}; stop the server that runs there, or choose another address")
        return 1
    handle_signals(lambda number, frame: simulation.leave())
    threading.Thread(target=_obey, args=(simulation,), daemon=True).start()
    print(f"{SERVES} {address}", flush=True)
    simulation.run_forever()
    simulation.cleanup()
    return 0


def _obey(simulation: Simulation) -> None:
    for line in sys.stdin:
        words = line.split()
        if words[:1] == ["fault"] and words[1] in ERRORS:
            simulation.post(partial(simulation.arm.fault, words[1], stubborn="stubborn" in words))
        elif words == ["clear"]:
            simulation.post(simulation.arm.clear)
    simulation.leave()


if __name__ == "__main__":
    sys.exit(main())
