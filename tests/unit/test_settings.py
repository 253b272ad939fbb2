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
        (["--index-workers-max", "0"], "index_workers_max must be at least 1"),
        (["--spare-workers", "2"], "spare_workers must be 0 or 1"),
        (["--memory-bytes-max", "1"], "memory_bytes_max"),
        (["--listen", "nowhere"], "listen"),
        (["--gpu", "yes"], "gpu must be auto or off"),
        (["--gpu-workers-max", "-1"], "gpu_workers_max"),
        (["--listen", "host:70000"], "listen"),
        (["--log-level", "loud"], "log_level"),
        (["--config", "/no/such/file"], "/no/such/file"),
        (["--listen", "::1:7700"], "listen"),
        (["--index-ports", "20000"], "index_ports"),
        (
            ["--index-ports", "7000-8000"],
            "index_ports is 7000-8000, which has the port of listen, 7700",
        ),
        (["--index-ports", "20000-20001", "--domain", "v.example"], "choose one"),
        (["--index-ports", "20000-20001", "--listen", "0.0.0.0:1", "--insecure"], "advertise_host"),
        (["--advertise-host", "a"], "index_ports"),
        (["--index-ports", "20000-20001", "--advertise-host", "a:1"], "without port"),
        (["--index-ports", "20000-20001", "--advertise-host", "http://a"], "without port"),
        (["--domain", "https://v.example/path"], "domain"),
        (["--domain", "v.example", "--front", "grpcio"], "need front torpor"),
        (["--index-ports", "20000-20001", "--front", "grpcio"], "need front torpor"),
        (
            ["--tls-certificate", "a", "--tls-key", "b", "--front", "grpcio"],
            "need front torpor",
        ),
        (["--tls-certificate", "a"], "tls_key"),
        (["--tls-key", "a"], "tls_certificate"),
        (["--tls-client-ca", "a"], "tls_client_ca"),
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


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.1.2", "server.example"])
def test_without_keys_others_are_not_listened_to(host: str) -> None:
    listen = ["--listen", f"{host}:7700"]
    with pytest.raises(BadSettings, match=r"torpor key create --keys-file FILE.*insecure"):
        read_settings(listen, {})
    read_settings([*listen, "--keys-file", "keys"], {})
    read_settings([*listen, "--insecure"], {})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost"])
def test_programs_of_this_machine_need_no_key(host: str) -> None:
    assert read_settings(["--listen", f"{host}:7700"], {}).listen == f"{host}:7700"


@pytest.mark.parametrize(
    ("arguments", "variable", "line", "insecure"),
    [
        ([], None, "", False),
        (["--insecure"], None, "", True),
        ([], "true", "", True),
        ([], "1", "", True),
        ([], "FALSE", "insecure = true", False),
        ([], None, "insecure = true", True),
        (["--no-insecure"], "1", "insecure = true", False),
    ],
)
def test_a_switch_is_told_in_three_ways(
    tmp_path: Path, arguments: list[str], variable: str | None, line: str, insecure: bool
) -> None:
    config = tmp_path / "torpor.toml"
    config.write_text(line)
    environment = {"TORPOR_CONFIG": str(config)}
    if variable is not None:
        environment["TORPOR_INSECURE"] = variable
    assert read_settings(arguments, environment).insecure is insecure


@pytest.mark.parametrize("value", ['"perhaps"', "2", "[]"])
def test_a_switch_is_true_or_false(tmp_path: Path, value: str) -> None:
    config = tmp_path / "torpor.toml"
    config.write_text(f"insecure = {value}\n")
    with pytest.raises(BadSettings, match="insecure must be true or false"):
        read_settings(["--config", str(config)], {})


@pytest.mark.parametrize(
    ("arguments", "warnings"),
    [
        ([], []),
        (["--keys-file", "k"], []),
        (["--domain", "v"], ["no API keys"]),
        (["--domain", "v", "--keys-file", "k"], []),
        (["--listen", "0.0.0.0:1", "--insecure"], ["only this machine"]),
        (["--listen", "0.0.0.0:1", "--keys-file", "k"], ["only this machine", "in the clear"]),
        (["--listen", "0.0.0.0:1", "--keys-file", "k", "--domain", "v"], ["in the clear"]),
        (
            [
                *("--listen", "0.0.0.0:1", "--keys-file", "k", "--domain", "v"),
                *("--tls-certificate", "c", "--tls-key", "p"),
            ],
            [],
        ),
    ],
)
def test_what_is_seldom_meant_is_told(arguments: list[str], warnings: list[str]) -> None:
    said = read_settings(arguments, {}).warnings()
    assert len(said) == len(warnings)
    assert all(part in one for part, one in zip(warnings, said, strict=True))
