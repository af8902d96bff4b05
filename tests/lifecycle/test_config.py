"""Runtime and program configuration: defaults, forms, refusals (contract §3.6, §3.7, §9.5)."""

from datetime import timedelta
from typing import Any

import pytest

from sluicegate import config, errors
from sluicegate.lifecycle import limits

STORAGE = {
    "backend": {"name": "default"},
    "min_storage_bytes": None,
    "min_step_storage_bytes": None,
    "compression": "default",
    "cache_mib": None,
}
RESOURCES = dict.fromkeys(
    (
        "cpu_cores_min",
        "cpu_cores_max",
        "memory_mb_min",
        "memory_mb_max",
        "storage_mb_max",
        "storage_class",
        "service_account_name",
        "namespace",
    )
)
RUNTIME: dict[str, Any] = {
    "workers": 8,
    "hosts": 1,
    "max_rss_mb": None,
    "datafusion_memory_mb": None,
    "storage": STORAGE,
    "fault_tolerance": {"model": "none", "checkpoint_interval_secs": 60},
    "cpu_profiler": True,
    "tracing": False,
    "tracing_endpoint_jaeger": "127.0.0.1:6831",
    "min_batch_size_records": 0,
    "max_buffering_delay_usecs": 0,
    "resources": RESOURCES,
    "clock_resolution_usecs": 1_000_000,
    "clock_timezone_offset": None,
    "pin_cpus": [],
    "provisioning_timeout_secs": None,
    "max_parallel_connector_init": None,
    "init_containers": None,
    "checkpoint_during_suspend": True,
    "http_workers": None,
    "io_workers": None,
    "env": {},
    "dev_tweaks": {},
    "logging": None,
    "pipeline_template_configmap": None,
}
PROGRAM = {"profile": None, "cache": True, "runtime_version": None, "use_platform_compiler": False}


@pytest.mark.parametrize("raw", [None, {}])
def test_defaults(raw: Any) -> None:
    assert config.runtime_config(raw) == RUNTIME
    assert config.program_config(raw) == PROGRAM


def test_a_complete_configuration_stays_as_it_is() -> None:
    assert config.runtime_config(RUNTIME) == RUNTIME
    assert config.program_config(PROGRAM) == PROGRAM


def test_defaults_are_not_shared() -> None:
    config.runtime_config(None)["storage"]["backend"]["name"] = "spoiled"
    config.runtime_config(None)["env"]["A"] = "spoiled"
    assert config.runtime_config(None) == RUNTIME


FILE = {"async_threads": None, "ioop_delay": None, "sync": None}
OBJECT = {"name": "object", "config": {"url": "s3://b", "region": "x"}}
FORMS: list[tuple[str, Any, Any]] = [
    ("storage", True, STORAGE),
    ("storage", {}, STORAGE),
    ("storage", {"backend": {}}, STORAGE),
    ("storage", {"unknown": 1}, STORAGE),
    ("storage", False, None),
    ("storage", None, None),
    (
        "storage",
        {"cache_mib": 5, "compression": "snappy"},
        {**STORAGE, "cache_mib": 5, "compression": "snappy"},
    ),
    (
        "storage",
        {"backend": {"name": "file", "config": {}}},
        {**STORAGE, "backend": {"name": "file", "config": FILE}},
    ),
    ("storage", {"backend": OBJECT}, {**STORAGE, "backend": OBJECT}),
    ("fault_tolerance", None, {"model": "none", "checkpoint_interval_secs": 60}),
    ("fault_tolerance", {}, {"model": "exactly_once", "checkpoint_interval_secs": 60}),
    ("fault_tolerance", {"model": None}, {"model": "none", "checkpoint_interval_secs": 60}),
    (
        "fault_tolerance",
        {"checkpoint_interval_secs": 5},
        {"model": "exactly_once", "checkpoint_interval_secs": 5},
    ),
    (
        "fault_tolerance",
        {"model": "at_least_once"},
        {"model": "at_least_once", "checkpoint_interval_secs": 60},
    ),
    ("fault_tolerance", "initial_state", {"model": "exactly_once", "checkpoint_interval_secs": 60}),
    ("fault_tolerance", "latest_checkpoint", {"model": "exactly_once", "checkpoint_interval_secs": 60}),
    ("resources", {"memory_mb_max": 5}, {**RESOURCES, "memory_mb_max": 5}),
    ("resources", {"cpu_cores_max": 1.5, "unknown": 2}, {**RESOURCES, "cpu_cores_max": 1.5}),
    ("clock_timezone_offset", "+02:00", "+02:00"),
    ("dev_tweaks", {"profiling": True, "anything": [1]}, {"profiling": True, "anything": [1]}),
    ("env", {"PATH": "x", "MY_FELDERA_": "y"}, {"PATH": "x", "MY_FELDERA_": "y"}),
    ("workers", 65_535, 65_535),
    (
        "resources",
        {"cpu_cores_min": 0, "cpu_cores_max": 0.5},
        {**RESOURCES, "cpu_cores_min": 0.0, "cpu_cores_max": 0.5},
    ),
]


@pytest.mark.parametrize(("key", "raw", "expected"), FORMS)
def test_forms_that_are_understood(key: str, raw: Any, expected: Any) -> None:
    assert config.runtime_config({key: raw, "not_a_key": 1}) == {**RUNTIME, key: expected}


def test_synchronisation_has_its_defaults() -> None:
    raw = {"storage": {"backend": {"name": "file", "config": {"sync": {"bucket": "b"}}}}}
    sync = config.runtime_config(raw)["storage"]["backend"]["config"]["sync"]
    assert sync["bucket"] == "b"
    assert (sync["pull_interval"], sync["retention_min_count"], sync["standby"]) == (10, 10, False)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("latest", "latest"),
        (None, None),
        ("0190A0C2-0000-7000-8000-00000000000F", "0190a0c2-0000-7000-8000-00000000000f"),
        ("0190a0c20000700080000000000000ff", "0190a0c2-0000-7000-8000-0000000000ff"),
    ],
)
def test_a_checkpoint_has_one_spelling(written: str | None, kept: str | None) -> None:
    sync = {"bucket": "b", "start_from_checkpoint": written}
    raw = {"storage": {"backend": {"name": "file", "config": {"sync": sync}}}}
    found = config.runtime_config(raw)["storage"]["backend"]["config"]["sync"]
    assert found["start_from_checkpoint"] == kept


WRONG: list[tuple[str, Any]] = [
    ("workers", 0),
    ("workers", 65_536),
    ("workers", "8"),
    ("workers", 8.0),
    ("workers", True),
    ("workers", None),
    ("hosts", 0),
    ("storage", "yes"),
    ("storage", 1),
    ("storage", []),
    ("storage", {"backend": {"name": "file"}}),
    ("storage", {"backend": {"name": "tape"}}),
    ("storage", {"backend": {"name": "object", "config": {}}}),
    ("storage", {"backend": {"name": "object", "config": {"url": "s3://b", "retries": 3}}}),
    ("storage", {"compression": "zip"}),
    ("storage", {"cache_mib": -1}),
    ("fault_tolerance", "sometimes"),
    ("fault_tolerance", {"model": "twice"}),
    ("fault_tolerance", 5),
    ("resources", {"cpu_cores_min": -0.5}),
    ("resources", {"cpu_cores_max": float("inf")}),
    ("resources", {"cpu_cores_max": float("nan")}),
    ("resources", {"memory_mb_max": 1.5}),
    ("resources", {"namespace": 5}),
    ("clock_timezone_offset", "02:00"),
    ("clock_timezone_offset", "+25:00"),
    ("clock_timezone_offset", "+\u0660\u0662:\u0660\u0660"),
    ("clock_timezone_offset", 2),
    ("env", {"A": 1}),
    ("env", ["A"]),
    ("cpu_profiler", "true"),
    ("pin_cpus", [-1]),
    ("provisioning_timeout_secs", -1),
    ("dev_tweaks", 5),
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_what_cannot_be_read_is_refused_with_all_of_it(key: str, value: Any) -> None:
    raw = {key: value, "logging": "debug"}
    with pytest.raises(errors.InvalidRuntimeConfig) as refused:
        config.runtime_config(raw)
    assert refused.value.details["value"] is raw
    assert list(refused.value.details["error"]) == ["DeserializationFailed"]
    assert refused.value.details["error"]["DeserializationFailed"].startswith(key)


@pytest.mark.parametrize("raw", [[], "x", 5, True, False, 0, ""])
def test_only_an_object_is_a_configuration(raw: Any) -> None:
    for read, refusal in (
        (config.runtime_config, errors.InvalidRuntimeConfig),
        (config.program_config, errors.InvalidProgramConfig),
    ):
        with pytest.raises(refusal) as refused:
            read(raw)
        assert list(refused.value.details) == ["value", "error"]
        assert list(refused.value.details["error"]) == ["DeserializationFailed"]


@pytest.mark.parametrize(
    "name",
    ["HOSTNAME", "RUST_LOG", "TOKIO_WORKER_THREADS", "TOKIO_X", "FELDERA_X", "KUBERNETES_X", "FELDERA_"],
)
def test_reserved_environment_variables(name: str) -> None:
    raw = {"env": {"FINE": "a", name: "b"}}
    with pytest.raises(errors.InvalidRuntimeConfig) as refused:
        config.runtime_config(raw)
    assert refused.value.details["value"] == raw
    text = refused.value.details["error"]["InvalidPipelineEnv"]
    assert "reserved and cannot be overridden" in text
    assert name in text
    assert "reserved and cannot be overridden" in refused.value.message


@pytest.mark.parametrize("profile", ["dev", "unoptimized", "optimized", "optimized_symbols", None])
def test_profiles(profile: str | None) -> None:
    assert config.program_config({"profile": profile, "x": 1}) == {**PROGRAM, "profile": profile}


@pytest.mark.parametrize("version", ["v1.2.3", "v0.337.0", "0123456789abcdef" * 2 + "01234567"])
def test_runtime_versions(version: str) -> None:
    assert config.program_config({"runtime_version": version})["runtime_version"] == version


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("profile", "fast"),
        ("profile", 1),
        ("cache", "yes"),
        ("cache", 1),
        ("cache", None),
        ("runtime_version", "1.2.3"),
        ("runtime_version", "v1.2"),
        ("runtime_version", "v1.2.3\n"),
        ("runtime_version", "v\u0661.2.3"),
        ("runtime_version", "f" * 39),
        ("runtime_version", 1),
        ("use_platform_compiler", "yes"),
    ],
)
def test_what_is_no_program_configuration(key: str, value: Any) -> None:
    with pytest.raises(errors.InvalidProgramConfig) as refused:
        config.program_config({key: value})
    assert refused.value.details["value"] == {key: value}
    assert list(refused.value.details["error"]) == ["DeserializationFailed"]


@pytest.mark.parametrize("seconds", [86_401, 10**11, 10**18])
def test_a_deadline_beyond_a_day_is_taken_for_a_day(make_pipeline: Any, seconds: int) -> None:
    runtime_config = config.runtime_config({"provisioning_timeout_secs": seconds})
    assert runtime_config["provisioning_timeout_secs"] == seconds
    assert limits.provision_within(make_pipeline(runtime_config=runtime_config)) == timedelta(days=1)


def test_a_configuration_that_would_not_fit_into_the_state_is_refused() -> None:
    with pytest.raises(errors.InvalidRuntimeConfig):
        config.runtime_config({"dev_tweaks": {"noise": "x" * config.MAX_BYTES}})
