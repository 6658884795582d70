"""A user id without a name gets what the libraries ask for."""

from __future__ import annotations

import getpass
import os
import pwd
import tempfile
from pathlib import Path

import pytest

from engine.system.user import name_user, user_name

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user id that the system has no entry for, in an empty environment: the directory of temporary files."""

    def no_entry(_: int) -> pwd.struct_passwd:
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in (*NAMES, "HOME"):
        monkeypatch.setenv(name, "")  # so that what is set is undone
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_libraries_find_a_name_and_a_private_home(nameless: Path) -> None:
    assert os.path.expanduser("~") == "~"
    name_user()
    assert getpass.getuser() == user_name() == str(os.getuid())
    home = Path.home()
    assert home.parent == nameless and home.stat().st_mode & 0o777 == 0o700
    del os.environ["HOME"]
    name_user()
    assert Path.home() == home  # the same in every process, or each would have a cache of its own


@pytest.mark.parametrize("way", ["link", "open to others", "file"])
def test_home_that_somebody_else_may_have_made_is_not_used(nameless: Path, way: str) -> None:
    home = nameless / f"loratui-{os.getuid()}"
    if way == "link":
        (nameless / "elsewhere").mkdir()
        home.symlink_to("elsewhere")
    elif way == "file":
        home.touch()
    else:
        home.mkdir()
        home.chmod(0o777)
    name_user()
    assert Path.home() != home
    assert Path.home().stat().st_mode & 0o777 == 0o700 and Path.home().parent == nameless


def test_what_the_environment_says_stays(nameless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("LOGNAME", "somebody")
    name_user()
    assert (os.environ["HOME"], getpass.getuser()) == ("/somewhere", "somebody")


def test_user_with_a_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOGNAME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    name_user()
    assert "LOGNAME" not in os.environ and "HOME" not in os.environ
    assert user_name() == pwd.getpwuid(os.getuid()).pw_name


def test_machine_without_room_for_a_home_is_endured(nameless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(nameless / "missing"))
    name_user()
    assert "HOME" not in os.environ
