"""An environment with which ROS 2 does not start is one sentence before any node starts, and `moto doctor` lives."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from support.weak import moto, run

from moto_ros.errors import MotoError
from moto_ros.ros import startup
from moto_ros.ros.startup import check_start, faults, log_folder, log_problem, usable_folders

NOWHERE = "/proc/none"
"""A folder that nobody can make, not even root."""

INIT = "import rclpy; from moto_ros.ros.starting import try_init; print(try_init() and rclpy.ok())"


def stopping(**variables: str) -> list[str]:
    """Return the sentences about variables with which nothing works."""
    return [fault.sentence() for fault in faults(variables) if fault.stops]


@pytest.mark.parametrize("domain", ["abc", "300", "233", "-1", "5x", "1.5", "99999999999999999999", "٣"])
def test_a_domain_that_has_no_ports_or_is_no_number_is_refused(domain: str) -> None:
    """ROS itself reads 5x as 5 and -1 as some other: the nodes would be on a network that nobody meant."""
    (said,) = stopping(ROS_DOMAIN_ID=domain)
    assert said == f"ROS_DOMAIN_ID is '{domain}'; expected a whole number of 0 to 232; correct it"


@pytest.mark.parametrize("domain", ["", "0", "232", " 5"])
def test_a_domain_that_ros_understands_is_taken(domain: str) -> None:
    assert stopping(ROS_DOMAIN_ID=domain) == []


@pytest.mark.parametrize("name", ["FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE", "CYCLONEDDS_URI"])
def test_a_profile_file_that_is_missing_or_no_xml_is_refused(tmp_path: Path, name: str) -> None:
    """The middleware would go on with its defaults, and lose most images."""
    variables = {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"} if name == "CYCLONEDDS_URI" else {}
    broken, good = tmp_path / "broken.xml", tmp_path / "good.xml"
    broken.write_text("<dds><profiles>", encoding="utf-8")
    good.write_text("<dds/>", encoding="utf-8")

    def said(path: Path) -> list[str]:
        return [text for text in stopping(**variables, **{name: str(path)}) if text.startswith(name)]

    (absent,) = said(tmp_path / "none.xml")
    assert "none.xml', which cannot be read (No such file or directory)" in absent
    (no_file,) = said(tmp_path)
    assert "Is a directory" in no_file
    (no_xml,) = said(broken)
    assert "broken.xml', which is not XML" in no_xml
    assert said(good) == []


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"ROS_SECURITY_ENABLE": "True"}, "ROS_SECURITY_ENABLE"),
        ({"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "enforce"}, "ROS_SECURITY_STRATEGY"),
        ({"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce"}, "ROS_SECURITY_KEYSTORE"),
        (
            {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce", "ROS_SECURITY_KEYSTORE": NOWHERE},
            "ROS_SECURITY_KEYSTORE",
        ),
    ],
)
def test_security_that_ros_would_leave_off_in_silence_is_refused(variables: dict[str, str], name: str) -> None:
    """ROS takes True and enforce for no: a robot would be open to the network that its owner thinks is closed."""
    (said,) = stopping(**variables)
    assert said.startswith(f"{name} is ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROS_AUTOMATIC_DISCOVERY_RANGE", "localhost"),
        ("RCUTILS_LOGGING_USE_STDOUT", "x"),
        ("RCUTILS_LOGGING_BUFFERED_STREAM", "2"),
        ("RCUTILS_COLORIZED_OUTPUT", "yes"),
        ("RMW_IMPLEMENTATION", "rmw_none_cpp"),
        ("RCL_ASSERT_RMW_ID_MATCHES", "rmw_none_cpp"),
    ],
)
@pytest.mark.ros
def test_a_value_that_ros_does_not_know_is_refused(name: str, value: str) -> None:
    (said,) = stopping(**{name: value})
    assert said.startswith(f"{name} is '{value}'")


@pytest.mark.ros
def test_what_only_ros_itself_can_find_is_said_in_its_words_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of ROS_STATIC_PEERS that has no address: the traceback of every node, one below the other."""
    monkeypatch.setenv("ROS_STATIC_PEERS", "not an address")
    with pytest.raises(MotoError, match=r"^ROS 2 does not start: .*peer not an address.*correct ROS_STATIC_PEERS"):
        check_start(os.environ, "moto")


@pytest.mark.ros
def test_an_environment_that_is_well_starts() -> None:
    check_start(os.environ, "/moto/arm_2")


@pytest.mark.ros
@pytest.mark.sim
@pytest.mark.parametrize("namespace", ["1bad", "bad-x", "a__b", "ü", "a//b", "a b", "~a"])
def test_a_namespace_that_ros_refuses_is_refused_before_a_node_starts(namespace: str) -> None:
    from moto_ros.systems.bringup import checked_arguments

    with pytest.raises(MotoError, match="argument namespace is"):
        checked_arguments({"namespace": namespace})


@pytest.mark.ros
@pytest.mark.sim
@pytest.mark.parametrize("namespace", ["", "/", "moto", "/lab/arm_2/", "_hidden"])
def test_a_namespace_that_ros_takes_is_taken(namespace: str) -> None:
    from moto_ros.systems.bringup import checked_arguments

    assert checked_arguments({"namespace": namespace})["namespace"] == namespace


def test_the_log_folder_is_the_one_that_ros_takes() -> None:
    home = {"HOME": "/home/me"}
    assert log_folder({}) is None
    assert log_folder(home) == Path("/home/me/.ros/log")
    assert log_folder(home | {"ROS_HOME": "~/ros"}) == Path("/home/me/ros/log")
    assert log_folder(home | {"ROS_HOME": "/x", "ROS_LOG_DIR": "/logs"}) == Path("/logs")


@pytest.mark.parametrize("variables", [{}, {"HOME": ""}, {"HOME": NOWHERE}, {"HOME": "/", "ROS_LOG_DIR": NOWHERE}])
def test_without_a_folder_to_log_into_another_one_takes_its_place(variables: dict[str, str], tmp_path: Path) -> None:
    assert log_problem(variables)
    changed, why = usable_folders(variables, lambda: tmp_path)
    assert changed["ROS_LOG_DIR"] == str(tmp_path)
    assert changed.get("HOME", variables.get("HOME")) in (str(tmp_path), "/")
    assert str(tmp_path) in why


def test_a_log_folder_that_can_be_used_stays(tmp_path: Path) -> None:
    assert usable_folders({"HOME": str(tmp_path)}, lambda: Path("elsewhere")) == ({}, "")


@pytest.mark.ros
@pytest.mark.sim
def test_the_nodes_of_a_system_log_into_the_run_where_home_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A container with a read-only home: no node started."""
    from moto_ros.systems.bringup import resolve

    monkeypatch.setenv("HOME", NOWHERE)
    system = resolve("pretrain", {"run": str(tmp_path)})
    assert system.environment["ROS_LOG_DIR"] == str(tmp_path / "logs" / "ros")
    system.check()
    assert NOWHERE in capsys.readouterr().err
    assert any((tmp_path / "logs" / "ros").iterdir())


@pytest.mark.parametrize("chosen", ["{message}", "", "{time}"])
def test_what_the_middleware_complains_of_is_found_whatever_log_format_the_user_has_set(
    chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks the doctor: it would say that all is well where the middleware has no network."""
    pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
    code = "import rclpy.logging\nrclpy.logging.get_logger('dds').error('no interface')\nprint('rmw_any')"
    monkeypatch.setattr(startup, "PROBE", code)
    variables = {**os.environ, "RCUTILS_CONSOLE_OUTPUT_FORMAT": chosen}
    assert startup.probe(tuple(sorted(variables.items()))) == ("rmw_any", "[ERROR] [dds]: no interface")


@pytest.mark.ros
@pytest.mark.parametrize("home", [NOWHERE, "", None])
def test_a_node_started_alone_needs_no_home(home: str | None) -> None:
    done = run([sys.executable, "-c", INIT], environment={"HOME": home, "ROS_LOG_DIR": None, "ROS_HOME": None})
    assert done.stdout == "True\n"
    assert "ROS logs into" in done.stderr


@pytest.mark.ros
@pytest.mark.parametrize(
    ("words", "changed", "said"),
    [
        ([], {"ROS_DOMAIN_ID": "300"}, "ROS_DOMAIN_ID is '300'"),
        (["--ros-args", "--params-file", "/none.yaml"], {}, "/none.yaml"),
        (["--ros-args", "--nonsense"], {}, "--nonsense"),
        (["--ros-args", "-r", "__ns:=/1bad"], {}, "__ns:=/1bad"),
        ([], {"ROS_STATIC_PEERS": "not an address"}, "ROS_STATIC_PEERS"),
    ],
)
def test_a_node_started_alone_says_in_one_sentence_why_it_does_not_start(
    words: list[str], changed: dict[str, str], said: str
) -> None:
    done = run([sys.executable, "-m", "moto_ros.nodes.reward_node", *words], environment=changed)
    *_, line = done.stderr.splitlines()  # ROS may log a line of its own before
    assert line.startswith("error: ")
    assert said in line
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


@pytest.mark.ros
@pytest.mark.sim
@pytest.mark.parametrize(
    "words",
    [["pretrain"], ["record"], ["finetune"], ["evaluate"], ["up", "record"], ["workspace", "--output", "box.yaml"]],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("changed", [{"RMW_IMPLEMENTATION": "rmw_none_cpp"}, {"ROS_DOMAIN_ID": "abc"}], ids=str)
def test_every_command_that_starts_nodes_refuses_before_one_does(
    words: list[str], changed: dict[str, str], tmp_path: Path
) -> None:
    """Importing rclpy ends a process where the middleware is missing, with status 102 and words of its own."""
    listen = ["--listen"] if words[0] == "workspace" else []
    done = run(moto(*words, *listen), environment=changed, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    ((name, value),) = changed.items()
    assert line.startswith(f"error: {name} is '{value}'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ros
@pytest.mark.parametrize(
    ("changed", "subject"),
    [
        ({"RMW_IMPLEMENTATION": "rmw_none_cpp"}, "RMW_IMPLEMENTATION"),
        ({"ROS_DOMAIN_ID": "abc"}, "ROS_DOMAIN_ID"),
        ({"ROS_DOMAIN_ID": "300"}, "ROS_DOMAIN_ID"),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "/none.xml"}, "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ({"RCUTILS_LOGGING_USE_STDOUT": "x"}, "RCUTILS_LOGGING_USE_STDOUT"),
        ({"ROS_STATIC_PEERS": "not an address"}, "ROS 2 start"),
    ],
)
def test_the_doctor_finds_what_stops_the_nodes(changed: dict[str, str], subject: str) -> None:
    """It said ok, or ended itself with status 102, where no node could start."""
    done = run(moto("doctor", "--json", "--quick"), environment=changed)
    found = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert found[subject]["level"] == "missing"
    assert found[subject]["advice"]
    assert {"Python", "moto_msgs", "Disk"} <= set(found)
    assert done.returncode == 1


@pytest.mark.ros
def test_the_doctor_says_where_ros_logs_when_home_cannot_be_used() -> None:
    done = run(moto("doctor", "--json", "--quick"), environment={"HOME": NOWHERE, "ROS_LOG_DIR": None})
    found = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert found["ROS logs"]["level"] == "note"
    assert NOWHERE in found["ROS logs"]["found"]
    assert found["Middleware"]["level"] != "missing"


def test_a_check_that_fails_itself_does_not_end_the_doctor() -> None:
    from moto_ros.cli.doctor import completed

    def broken() -> object:
        raise RuntimeError("no such device")

    (found,) = completed("Cameras", broken)  # type: ignore[arg-type]
    assert (found.subject, found.level) == ("Cameras", "missing")
    assert "no such device" in found.found
