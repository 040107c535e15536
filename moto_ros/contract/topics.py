"""Names of topics and services, relative to the robot's namespace. The contract, said once."""

ACTION = "policy/action"
EPISODE_STATE = "episode/state"
REWARD = "episode/reward"
ROBOT_STATE = "robot/state"
POLICY_VERSION = "policy/version"
POLICY_WEIGHTS = "trainer/policy"
TRAINING_STATUS = "trainer/status"
EPISODE_BAG = "recorder/bag"
READY = "system/ready"
SYSTEM_NODE = "/system/node"
PROPOSAL = "policy/proposal"
EXTERNAL_REWARD = "reward/external"
OPERATOR_EVENT = "operator/event"
OPERATOR_JOY = "operator/joy"
OPERATOR_TWIST = "operator/twist"
DIAGNOSTICS = "/diagnostics"
CLOCK = "/clock"

ROBOT_RESET = "robot/reset"
ROBOT_STOP = "robot/stop"
ROBOT_RECOVER = "robot/recover"
EPISODE_START = "episode/start"
EPISODE_END = "episode/end"
TRAINER_SAVE = "trainer/save"


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
