"""Names of topics and services, relative to the robot's namespace. The contract, said once."""

ACTION = "policy/action"
"""The action that the robot executes: values in [-1, 1], who decided, what it was computed from, uncertainty."""
EPISODE_STATE = "episode/state"
"""Where the current episode stands."""
REWARD = "episode/reward"
"""What each step earned."""
ROBOT_STATE = "robot/state"
"""Joints, end effector, wrench, gripper, tracked objects and goals, mode, fault; SI units, REP-103 axes."""
POLICY_VERSION = "policy/version"
"""The weights that the policy acts with now."""
POLICY_WEIGHTS = "trainer/policy"
"""New weights for the policy: safetensors bytes with their SHA-256."""
TRAINING_STATUS = "trainer/status"
"""What the trainer does now: phase, updates, losses, success rate."""
EPISODE_BAG = "recorder/bag"
"""The bag of an episode is closed and complete."""
READY = "system/ready"
"""A node's name and its session, once it is connected both ways with its peers."""
SYSTEM_NODE = "/system/node"
"""Which nodes run, in which session, and which topics they write."""
PROPOSAL = "policy/proposal"
"""What the policy would do, where a person may take over."""
EXTERNAL_REWARD = "reward/external"
"""Rewards of a node of your own; the reward node takes them with `rule: external`."""
OPERATOR_EVENT = "operator/event"
"""What a person said with a button or a service."""
OPERATOR_JOY = "operator/joy"
"""A person's joystick or 6-D mouse."""
OPERATOR_TWIST = "operator/twist"
"""A person's velocity command."""
DIAGNOSTICS = "/diagnostics"
"""How each node does: counters, rates, warnings."""
CLOCK = "/clock"
"""Simulated time, in lockstep."""

ROBOT_RESET = "robot/reset"
"""Bring robot and scene to a start state."""
ROBOT_STOP = "robot/stop"
"""Stop the robot; latched until `robot/recover`."""
ROBOT_RECOVER = "robot/recover"
"""Clear faults and a latched stop; nothing moves before the next episode."""
EPISODE_START = "episode/start"
"""Reset, then run one episode."""
EPISODE_END = "episode/end"
"""End the running episode now."""
TRAINER_SAVE = "trainer/save"
"""Write a checkpoint now."""


def operator_service(event: str) -> str:
    """Return the service that says an operator's event (start, success, failure, discard, ready...) without buttons."""
    return f"operator/{event}"


def camera_health(camera: str) -> str:
    """Return the topic of a camera's health."""
    return f"camera/{camera}/health"


def camera_depth(camera: str) -> str:
    """Return the depth topic of a camera: 16UC1 in mm, aligned to its colour image."""
    return f"camera/{camera}/depth/image_raw"


def camera_disturb(camera: str) -> str:
    """Return the topic that disturbs a synthetic camera, see SyntheticRealSense.disturb."""
    return f"camera/{camera}/disturb"


def camera_image(camera: str, compressed: bool = False) -> str:
    """Return the image topic of a camera, raw or JPEG."""
    return f"camera/{camera}/{'compressed' if compressed else 'image_raw'}"


def camera_info(camera: str) -> str:
    """Return the calibration topic of a camera."""
    return f"camera/{camera}/camera_info"
