"""Scripted expert for Franka Kitchen: the moves of the hand for each element, done by inverse kinematics.

Every element has a short list of moves: approach it, reach it, grasp or push it, and retreat. Nothing is learned or
planned; the script uses the simulator's state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from moto_sim.kitchen import THRESHOLD, Kitchen
from moto_sim.servo import Servo, ServoGoal

LETTERS = {
    "m": "microwave",
    "k": "kettle",
    "t": "top burner",
    "b": "bottom burner",
    "l": "light switch",
    "h": "hinge cabinet",
    "s": "slide cabinet",
}

ORDERS = (
    "kbhs kbls klhs ktbs ktls mbhs mbls mkbh mkbs mkhs mkls mkth mktl mtbh mtbs tbls "
    "kblh ktbh ktbl mbls mklh mlhs mtbl mtlh"
)
"""The 24 groups of human demonstrations (relay policy learning), each four elements in order; one order occurs twice.

`mkls` is the set `mixed`. No group is the set `partial`, mkbl, which must be composed from parts of others.
"""

SPEED_LIMIT = 2.0
"""Joint velocity of action 1, rad/s."""

FORWARD = Rotation.from_matrix([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
"""Orientation of a tool that points forward (world y), with its fingers side by side."""

OPEN, CLOSED = 1.0, -1.0
MICROWAVE_HINGE, CABINET_HINGE = np.array([-1.128, 0.455, 1.792]), np.array([-0.224, 0.71, 2.6])
"""A point on the hinge of a door, m."""

KETTLE_OFFSET, KETTLE_STEER = 0.06, 0.3
"""Where the kettle is pushed: left of its middle, m, since its spout makes it turn; and further by its yaw, m/rad."""

KETTLE_REACH, KETTLE_LEAD = 0.17, 0.1
"""Distance between the kettle's middle and a tool that touches it, and how far the goal is ahead of the tool, m."""

Target = Callable[[mujoco.MjData], np.ndarray]


@dataclass(frozen=True)
class Move:
    """Bring the tool to `target` in at most `steps` steps, turned by angles in rad.

    `tilt` points the tool down, `pan` to the left, `roll` turns it about its own axis.
    """

    target: Target
    fingers: float
    steps: int
    near: float = 0.0
    """Distance at which the next move begins, m; 0: only after all steps, or when the element is complete."""
    tilt: float = 0.0
    roll: float = 0.0
    pan: float = 0.0
    works: bool = False
    """Whether this move completes the element: it ends as soon as the element is complete."""

    def pose(self, data: mujoco.MjData) -> ServoGoal:
        """Return the goal of the tool now."""
        turned = Rotation.from_euler("yxz", [self.roll, -self.tilt, self.pan]) * FORWARD
        return ServoGoal(self.target(data), turned)


def at(site: str, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Target:
    """Return a target that follows a site of the model."""
    return lambda data: data.site(site).xpos + np.asarray(offset)


def there(x: float, y: float, z: float) -> Target:
    """Return a fixed target, m."""
    return lambda data: np.array([x, y, z])


def around(hinge: np.ndarray, site: str, angle: float) -> Target:
    """Return the target that drags a door's handle on its circle, `angle` (rad) ahead of where it is."""
    turn = Rotation.from_euler("z", angle)
    return lambda data: hinge + turn.apply(data.site(site).xpos - hinge)


def behind_kettle(data: mujoco.MjData) -> np.ndarray:
    """Return the target that pushes the kettle forward (y), beside its middle by an amount that depends on its yaw."""
    x, y, _, w, _, _, z = data.joint("kettle").qpos
    return np.array([x - KETTLE_OFFSET - KETTLE_STEER * 2 * np.arctan2(z, w), y - KETTLE_REACH + KETTLE_LEAD, 1.72])


def grasped(
    site: str,
    drag: Target,
    *,
    tilt: float = 0.0,
    roll: float = 0.0,
    pan: float = 0.0,
    steps: int = 50,
    depth: float = 0.0,
    side: float = 0.0,
) -> list[Move]:
    """Return the moves that grasp a handle `depth` (m) behind its site, from `side` (m), and drag or turn it."""
    return [
        Move(at(site, (side, -0.12, 0.0)), OPEN, 45, 0.035, tilt, pan=pan),
        Move(at(site, (0.0, depth, 0.0)), OPEN, 15, 0.015, tilt, pan=pan),
        Move(at(site, (0.0, depth, 0.0)), CLOSED, 5, 0.0, tilt, pan=pan),
        Move(drag, CLOSED, steps, 0.0, tilt, roll, pan, works=True),
    ]


MOVES: dict[str, list[Move]] = {
    "microwave": grasped("microhandle_site", around(MICROWAVE_HINGE, "microhandle_site", -0.3), tilt=0.6, depth=0.02),
    "kettle": [
        Move(there(-0.33, 0.12, 1.84), CLOSED, 45, 0.05, 0.8),
        Move(there(-0.33, 0.2, 1.73), CLOSED, 20, 0.035, 0.8),
        Move(behind_kettle, CLOSED, 40, 0.0, 0.8, works=True),
    ],
    "top burner": grasped("knob4_site", at("knob4_site"), roll=1.0, steps=30),
    "bottom burner": grasped("knob2_site", at("knob2_site"), roll=1.0, steps=30),
    "light switch": [
        Move(at("light_site", (0.1, -0.1, 0.0)), CLOSED, 45, 0.035),
        Move(at("light_site", (0.07, 0.0, 0.0)), CLOSED, 15, 0.02),
        Move(at("light_site", (-0.1, 0.02, 0.0)), CLOSED, 25, works=True),
    ],
    "hinge cabinet": grasped("hinge_site2", around(CABINET_HINGE, "hinge_site2", 0.3), steps=60),
    "slide cabinet": [
        # Around the door of an open hinge cabinet, which is in front of the handle.
        Move(at("slide_site", (0.1, -0.25, 0.0)), OPEN, 25, 0.1, pan=0.3),
        *grasped("slide_site", at("slide_site", (0.15, 0.0, 0.0)), pan=0.3, steps=40, side=0.04),
    ],
}

RETREAT = (0.0, -0.16, 0.0)
RETREAT_STEPS = 7

MARGINS = {
    "microwave": 0.15,
    "kettle": 0.15,
    "top burner": 0.12,
    "bottom burner": 0.12,
    "light switch": 0.15,
    "hinge cabinet": 0.2,
    "slide cabinet": 0.1,
}
"""Distance from its goal at which the script leaves an element, well within the task's threshold."""


class KitchenExpert:
    """Completes elements one after the other; one that fails is tried once more, then skipped."""

    def __init__(self, world: Kitchen, elements: Sequence[str]) -> None:
        """The world must just have been reset."""
        self._world, self._data = world, world.data
        self._servo = Servo(world.model, world.data, "end_effector", world.control_period)
        self._queue: list[tuple[str, Move | None]] = [
            (element, move) for element in elements for move in [*MOVES[element], None]
        ]
        self._tried: set[str] = set()
        self._rest = self._servo.position
        self._spent = 0
        self._from = self._rest

    def action(self) -> np.ndarray:
        """Return what the script does now, float32 (9,) in [-1, 1]; call it once a step."""
        while self._queue and self._over():
            self._next()
        self._spent += 1
        move = self._move()
        joints = self._servo.velocity(move.pose(self._data)) / SPEED_LIMIT
        joints /= max(1.0, float(np.abs(joints).max()))
        return np.concatenate([joints, [move.fingers, move.fingers]]).astype(np.float32)

    def _next(self) -> None:
        """Go on to the next move; an element that was not completed is tried once more."""
        element, move = self._queue.pop(0)
        self._spent, self._from = 0, self._servo.position
        if move is None and element not in self._tried and self._world.distance(element) > THRESHOLD:
            self._tried.add(element)
            self._queue = [(element, again) for again in [*MOVES[element], None]] + self._queue

    def _move(self) -> Move:
        """Return the present move: the script's, a retreat from where the last one ended, or rest at the end."""
        if not self._queue:
            return Move(lambda data: self._rest, OPEN, 0)
        return self._queue[0][1] or Move(lambda data: self._from + RETREAT, OPEN, RETREAT_STEPS)

    def _over(self) -> bool:
        element, _ = self._queue[0]
        move = self._move()
        if self._spent >= move.steps:
            return True
        if move.works:
            return self._world.distance(element) < MARGINS[element]
        near = float(np.linalg.norm(move.target(self._data) - self._servo.position)) < move.near
        return self._spent > 0 and near


def orders() -> list[tuple[str, ...]]:
    """Return the element orders of the human demonstrations, a group each."""
    return [tuple(LETTERS[letter] for letter in order) for order in ORDERS.split()]


def drawn_elements(seed: int) -> tuple[str, ...]:
    """Return one of the human orders: the same data serve both sets, as in the paper."""
    known = orders()
    return known[int(np.random.default_rng([seed, 2]).integers(len(known)))]
