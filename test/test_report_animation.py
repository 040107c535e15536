"""`moto report RUN --animation FILE`: the picture of a README from the bags of a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from support.bags import Recipe, Sent, action, image, lockstep_episode, phase, reward, robot_state, write_bag
from training_support import PointWorld, play_with, store_maker

from moto_ros.agents.interface import Spaces
from moto_ros.agents.moto.config import MotoSettings
from moto_ros.cli.main import main
from moto_ros.data.episode import Episode
from moto_ros.errors import MotoError
from moto_ros.files import read_json
from moto_ros.report import animation
from moto_ros.report.animation import MAX_BYTES, VIEW, VIEW_LEFT, VIEW_TOP, write_animation
from moto_ros.training import offline_runner
from moto_ros.training.metrics import MetricsLog
from moto_ros.training.run_folder import RunFolder
from moto_ros.training.run_schedule import RunEpisode
from moto_ros.training.session import TrainingRun
from moto_ros.training.settings import TrainerSettings

pytestmark = pytest.mark.slow

ONLINE = 7
SEEN = Spaces(image=(64, 64, 3), proprio=2, action=2)
SMALL = {"stoch": 4, "deter": 8, "hidden": 8, "conv_depth": 2, "head_units": 8, "head_layers": 1, "proprio_units": 8}
AGENT = MotoSettings(
    **SMALL,
    ensemble=3,
    critics=2,
    batch=2,
    length=5,
    horizon=3,
    offline_model_updates=2,
    offline_policy_updates=2,
    online_model_updates=1,
    online_policy_updates=1,
    online_episodes=ONLINE,
)
START = 100_000_000_000
"""Time of the first message, ns."""


def recording(run: Path, asked: RunEpisode, episode: Episode) -> None:
    """Write the bag that the recorder would write of an episode of the point world."""
    rng, stamps = np.random.default_rng(asked.seed), [START + int(stamp) for stamp in episode.stamps]
    messages = [("episode/state", "EpisodeState", phase(asked.id, START, 0), START)]
    for step, stamp in enumerate(stamps):
        state = robot_state(stamp, rng)
        messages.append(("camera/agent/image_raw", "Image", image(episode.images["agent"][step], stamp), stamp))
        messages.append(("robot/state", "RobotState", state, stamp))
        if step:
            value = float(episode.reward[step])
            messages.append(("episode/reward", "Reward", reward(asked.id, step, stamp, value), stamp))
        if step < len(episode):
            command = action(asked.id, step, {"agent": stamp}, stamp, episode.action[step + 1])
            messages.append(("policy/action", "Action", command, stamp + 1000))
    end = stamps[-1] + 5000
    messages.append(("episode/state", "EpisodeState", phase(asked.id, end, len(episode), "time_limit"), end))
    package = {"Image": "sensor_msgs"}
    sent = [
        Sent(f"/{topic}", topic, f"{package.get(kind, 'moto_msgs')}/msg/{kind}", message, time)
        for topic, kind, message, time in messages
    ]
    folder = "online" if asked.purpose == "training" else "eval_000000"
    write_bag(run / "bags" / folder / f"episode_{asked.id:06d}", sent)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run of the point world, with a bag of each online and evaluation episode."""
    path = tmp_path_factory.mktemp("runs") / "point_seed0"
    settings = TrainerSettings(evaluation_episodes=2, log_every=5)
    made = store_maker(path, camera=True)
    session = TrainingRun.open(RunFolder(path), "moto", AGENT, settings, SEEN, made)
    for index in range(3):
        session.add_demonstration(PointWorld(camera=True).play(PointWorld().expert, index, 2_000_000 + index), None)
    play = play_with(session, camera=True)

    def play_and_record(asked: RunEpisode) -> tuple[Episode, list[float], list[float]]:
        episode, uncertainty, _ = play(asked)
        recording(path, asked, episode)
        return episode, uncertainty, [0.25] * len(uncertainty)

    offline_runner.run(session, play_and_record)
    session.close()
    return path


def pictures(path: Path) -> list[np.ndarray]:
    """Return every picture of an animation as uint8 (H, W, 3)."""
    with Image.open(path) as file:
        found = []
        for index in range(file.n_frames):
            file.seek(index)
            found.append(np.asarray(file.convert("RGB")))
    return found


def view(picture: np.ndarray) -> np.ndarray:
    """Return the camera view of a picture."""
    return picture[VIEW_TOP : VIEW_TOP + VIEW, VIEW_LEFT : VIEW_LEFT + VIEW].astype(float)


@pytest.fixture(scope="module", params=["run.webp", "run.gif"])
def made(request: pytest.FixtureRequest, recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an animation made by the command, in each format."""
    path = tmp_path_factory.mktemp("animation") / request.param
    assert main(["report", str(recorded), "--animation", str(path)]) == 0
    return path


def test_it_plays_the_camera_of_each_clip_and_the_curves_grow(made: Path) -> None:
    """The picture of the README would stand still, or show nothing of what the robot did."""
    found = pictures(made)
    assert len(found) > 60
    assert found[0].shape == (340, 800, 3)
    assert made.stat().st_size < MAX_BYTES
    red = [np.argwhere((view(picture) @ (1, -1, 0)) > 80).mean(axis=0) for picture in found]
    assert np.ptp(red, axis=0).max() > 20  # the point moves through the camera's view
    curves = [picture[:, VIEW_LEFT + VIEW + 40 :].astype(float) for picture in found]
    ink = [(curve.min(axis=2) < 200).sum() for curve in curves]
    assert ink[-1] > 1.05 * ink[0]
    assert len({curve.tobytes() for curve in curves[:: len(curves) // 10]}) > 4


def test_it_shows_what_the_bags_hold(recorded: Path) -> None:
    """The view would be of another episode than the title says, or mirrored."""
    history = animation.History(recorded)
    shown = animation.clips(history)
    titles = [clip.title.split(":")[0] for clip in shown]
    assert titles[0] == "evaluation before"
    assert titles[1] == f"online episode 1 of {ONLINE}"
    assert titles[-2:] == [f"online episode {ONLINE} of {ONLINE}", "evaluation after"]
    for clip, (row, _, _) in zip(shown, animation.episodes_to_play(history), strict=True):
        assert clip.title.endswith(": success" if row["success"] else ": no success")
        assert clip.frames.shape[1:] == (VIEW, VIEW, 3)
        assert clip.success.any() == bool(row["success"])


def test_the_chance_of_success_that_the_policy_estimates_is_drawn_beside_the_uncertainty(recorded: Path) -> None:
    """A viewer would see that the policy is unsure, and not whether it expects to succeed."""
    history = animation.History(recorded)
    axis = Figure().subplots()
    animation.draw_uncertainty(axis, history.online[:3], history.online)
    (_, chance) = axis.figure.axes
    assert list(chance.lines[0].get_ydata()) == [25.0] * 3
    unknown = [{name: value for name, value in row.items() if name != "success_probability"} for row in history.online]
    axis = Figure().subplots()
    animation.draw_uncertainty(axis, unknown, unknown)
    assert axis.figure.axes == [axis]


def test_an_animation_is_replaced_and_no_other_file_is(recorded: Path, made: Path, tmp_path: Path) -> None:
    """`--animation holiday.gif` would overwrite somebody's picture."""
    foreign = tmp_path / "holiday.gif"
    Image.new("RGB", (8, 8)).save(foreign)
    before = foreign.read_bytes()
    with pytest.raises(MotoError, match="is not an animation of moto_ros, so it is kept"):
        write_animation(recorded, foreign)
    assert foreign.read_bytes() == before
    own = shutil.copy(made, tmp_path)
    assert write_animation(recorded, Path(own)).is_file()


def test_a_larger_animation_drops_frames_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long run or a noisy camera would give a file that no page shows."""
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(33)]
    whole = animation.encoded(noise, "GIF")
    monkeypatch.setattr(animation, "MAX_BYTES", len(whole) // 3)
    assert 0 < len(animation.encoded(noise, "GIF")) <= len(whole) // 3
    monkeypatch.setattr(animation, "MAX_BYTES", len(whole) // 33)
    with pytest.raises(MotoError, match=r"its first and last picture have .* bytes, expected at most"):
        animation.encoded(noise, "GIF")


def test_of_several_recordings_of_an_episode_the_newest_usable_one_is_shown(tmp_path: Path) -> None:
    """The view would be of an aborted or an older repetition, or of a demonstration with the same number."""
    names = ("online/episode_000005", "online/episode_000005-2", "online/episode_000005-10")
    unusable = (("online/episode_000005-11", "aborted"), ("offline/episode_000005", "success"))
    bags = [*((name, "time_limit") for name in names), *unusable]
    for steps, (name, outcome) in enumerate(bags, 3):
        write_bag(tmp_path / "bags" / name, lockstep_episode(Recipe(5, steps, ("agent",), (16, 16), outcome=outcome)))
    history = SimpleNamespace(run=RunFolder(tmp_path))
    found = animation.recorded(history, 5)  # type: ignore[arg-type]
    assert found is not None
    assert len(found) == 3 + names.index("online/episode_000005-10")
    assert animation.recorded(history, 6) is None  # type: ignore[arg-type]


def test_wrong_inputs_are_one_sentence(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error would end in a traceback, or in a file that no program opens."""
    bare = tmp_path / "bare"
    shutil.copytree(recorded, bare)
    shutil.rmtree(bare / "bags")
    offline = tmp_path / "offline"
    shutil.copytree(recorded, offline)
    log = MetricsLog(offline / "metrics.jsonl")
    log.rewind(3)
    log.close()
    assert read_json(offline / "identity.json") == read_json(recorded / "identity.json")
    run, fine = str(recorded), str(tmp_path / "a.webp")
    for words, sentence in (
        ([run, "--animation", str(tmp_path / "a.mp4")], "ends in '.mp4', expected .webp or .gif"),
        ([run, run, "--animation", fine], "2 run folders given, expected one"),
        ([run, "--animation", fine, "--output", "x.html"], "--output and --animation are both given"),
        ([str(bare), "--animation", fine], "no bag with camera images of the run's 7 online episodes"),
        ([str(offline), "--animation", fine], "holds no online episode"),
        ([str(tmp_path), "--animation", fine], "no identity.json"),
    ):
        assert main(["report", *words]) == 1
        error = capsys.readouterr().err
        assert sentence in error
        assert len(error.splitlines()) == 1
    assert not Path(fine).exists()
