"""Settings: flags win over variables, those over the file, those over defaults."""

from pathlib import Path

import pytest

from router.settings import BadSettings, Settings, read_settings


def test_defaults() -> None:
    assert read_settings([], {}) == Settings()


def test_what_wins_over_what(tmp_path: Path) -> None:
    config = tmp_path / "torpor.toml"
    config.write_text('idle_seconds = 1\nworkers_awake_max = 2\nlisten = "0.0.0.0:1"\n')
    environment = {"TORPOR_CONFIG": str(config), "TORPOR_WORKERS_AWAKE_MAX": "3"}
    found = read_settings(["--listen", "127.0.0.1:9"], environment)
    assert (found.idle_seconds, found.workers_awake_max) == (1.0, 3)
    assert found.listen == "127.0.0.1:9"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--idle-seconds", "0"], "idle_seconds"),
        (["--idle-seconds", "nan"], "idle_seconds"),
        (["--idle-seconds", "soon"], "idle_seconds"),
        (["--workers-awake-max", "0"], "workers_awake_max"),
        (["--memory-bytes-max", "1"], "memory_bytes_max"),
        (["--listen", "nowhere"], "listen"),
        (["--listen", "host:70000"], "listen"),
        (["--log-level", "loud"], "log_level"),
        (["--config", "/no/such/file"], "/no/such/file"),
    ],
)
def test_bad_settings_say_which_and_why(arguments: list[str], message: str) -> None:
    with pytest.raises(BadSettings, match=message):
        read_settings(arguments, {})


def test_an_unknown_setting_in_the_file_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "torpor.toml"
    config.write_text("idle_secs = 1\n")
    with pytest.raises(BadSettings, match="idle_secs"):
        read_settings(["--config", str(config)], {})
