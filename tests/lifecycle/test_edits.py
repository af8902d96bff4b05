"""Edits: what may change when, in which order it is refused, and which versions move (contract §3)."""

import random
import string
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from sluicegate import errors
from sluicegate.errors import Refusal
from sluicegate.lifecycle import edits, refusals
from sluicegate.lifecycle.edits import Edit
from sluicegate.lifecycle.receipts import Receipt
from sluicegate.lifecycle.record import Pipeline
from sluicegate.lifecycle.status import ProgramStatus, ResourcesStatus, StorageStatus
from sluicegate.lifecycle.values import Packed

if TYPE_CHECKING:
    from tests.lifecycle.conftest import World

STOPPED = ResourcesStatus.STOPPED


def edit(**fields: Any) -> Edit:
    """Make an edit by somebody."""
    return Edit(**{"request_id": "r", "actor": "ann", "platform_version": "1", **fields})


def versions(p: Pipeline) -> tuple[int, int, int]:
    """Show version, program version and refresh version."""
    return p.version, p.program_version, p.refresh_version


def core_edits(p: Pipeline, packed: Any) -> list[Edit]:
    """One edit of each field that needs a stopped pipeline."""
    return [
        edit(name="q"),
        edit(runtime_config={**p.runtime_config, "logging": "debug"}),
        edit(program_config={**p.program_config, "profile": "dev"}),
        edit(texts=packed("SELECT 1")),
        edit(platform_version="2", replace=True),
    ]


@pytest.mark.parametrize("status", ResourcesStatus)
@pytest.mark.parametrize("wanted", [True, False])
def test_only_the_metadata_may_change_before_it_is_stopped(
    status: ResourcesStatus, wanted: bool, deployed: Any, make_texts: Any, at: datetime
) -> None:
    p = deployed(status, wanted=wanted)
    described = edits.apply(p, edit(description="new", tags=("b", "a")), at)
    assert (described.pipeline.description, described.pipeline.tags) == ("new", ("b", "a"))
    assert not described.event
    assert versions(described.pipeline) == versions(p)
    for change in core_edits(p, make_texts):
        if p.fully_stopped:
            assert edits.apply(p, change, at).event
        else:
            with pytest.raises(refusals.UpdateRestrictedToStopped):
                edits.apply(p, change, at)


def same(p: Pipeline, **fields: Any) -> Edit:
    """A PUT of exactly what is there."""
    given = {
        "name": p.name,
        "description": p.description,
        "tags": p.tags,
        "texts": p.texts,
        "runtime_config": dict(p.runtime_config),
        "program_config": dict(p.program_config),
    }
    return edit(replace=True, platform_version=p.platform_version, **{**given, **fields})


@pytest.mark.parametrize("status", ResourcesStatus)
def test_equal_values_change_nothing_and_are_never_refused(
    status: ResourcesStatus, deployed: Any, at: datetime
) -> None:
    p = deployed(status, storage_status=StorageStatus.IN_USE)
    assert edits.apply(p, same(p), at) == (p, False)
    assert edits.apply(p, same(p, description="d"), at) == (p.but(description="d"), False)


def test_a_field_that_does_not_change_is_not_judged(make_pipeline: Any, at: datetime) -> None:
    p = make_pipeline(description="x" * 400, tags=("?",))
    assert edits.apply(p, edit(description="x" * 400, tags=("?",)), at) == (p, False)


BOUND: list[tuple[dict[str, Any], list[str]]] = [
    ({"name": "q"}, ["`name`"]),
    *(
        ({"runtime_config": {key: value}}, [f"`runtime_config.{key}`"])
        for key, value in (
            ("workers", 2),
            ("hosts", 2),
            ("fault_tolerance", {"model": "exactly_once", "checkpoint_interval_secs": 60}),
            ("clock_timezone_offset", "+02:00"),
        )
    ),
    *(
        ({"resources": {key: value}}, [f"`runtime_config.resources.{key}`"])
        for key, value in (("storage_mb_max", 9), ("namespace", "n"), ("storage_class", "s"))
    ),
    (
        {"name": "q", "runtime_config": {"hosts": 2, "workers": 2}, "resources": {"namespace": "n"}},
        [
            "`name`",
            "`runtime_config.workers`",
            "`runtime_config.hosts`",
            "`runtime_config.resources.namespace`",
        ],
    ),
    ({"runtime_config": {"logging": "debug", "env": {"A": "b"}}}, []),
    ({"resources": {"memory_mb_max": 5, "cpu_cores_max": 1.0, "service_account_name": "x"}}, []),
]


@pytest.mark.parametrize(("fields", "not_allowed"), BOUND)
@pytest.mark.parametrize("storage", StorageStatus)
def test_what_storage_depends_on(
    fields: dict[str, Any], not_allowed: list[str], storage: StorageStatus, make_pipeline: Any, at: datetime
) -> None:
    p = make_pipeline(storage_status=storage)
    given = dict(fields)
    resources = {**p.runtime_config["resources"], **given.pop("resources", {})}
    if given.keys() != {"name"}:
        config = {**p.runtime_config, "resources": resources, **given.pop("runtime_config", {})}
        given["runtime_config"] = config
    if storage is StorageStatus.CLEARED or not not_allowed:
        assert versions(edits.apply(p, edit(**given), at).pipeline) == (2, 1, 2)
        return
    with pytest.raises(refusals.EditRestrictedToClearedStorage) as refused:
        edits.apply(p, edit(**given), at)
    assert refused.value.details == {"not_allowed": not_allowed}
    assert ", ".join(not_allowed) in refused.value.message


def test_a_program_may_change_while_storage_is_in_use(deployed: Any, make_texts: Any, at: datetime) -> None:
    p = deployed(STOPPED, wanted=False, storage_status=StorageStatus.IN_USE)
    assert p.program_status is ProgramStatus.SUCCESS
    edited = edits.apply(p, edit(texts=make_texts("SELECT 1"), platform_version="2"), at).pipeline
    assert edited.program_status is ProgramStatus.PENDING
    assert edited.program_status_since == at
    found = (edited.program_info, edited.plan, edited.sql_compilation, edited.rust_compilation)
    assert found == (None, None, None, None)
    assert edited.platform_version == "2"


def test_a_program_that_is_still_pending_stays_so_since_then(
    make_pipeline: Any, make_texts: Any, at: datetime
) -> None:
    p = make_pipeline()
    edited = edits.apply(p, edit(texts=make_texts("SELECT 1")), at).pipeline
    assert (edited.program_version, edited.program_status_since) == (2, p.program_status_since)


ORDER = [
    (
        {"description": "x" * 301, "name": "q"},
        {"resources_desired": "Provisioned"},
        refusals.TooLongDescription,
    ),
    ({"tags": ("?",), "name": "q"}, {"resources_desired": "Provisioned"}, refusals.InvalidTag),
    (
        {"name": "q"},
        {"resources_desired": "Provisioned", "storage_status": "InUse"},
        refusals.UpdateRestrictedToStopped,
    ),
    ({"name": "q"}, {"storage_status": "InUse"}, refusals.EditRestrictedToClearedStorage),
]


@pytest.mark.parametrize(("fields", "changes", "refusal"), ORDER)
def test_the_order_of_refusals(
    fields: dict[str, Any], changes: dict[str, Any], refusal: type[Refusal], make_pipeline: Any, at: datetime
) -> None:
    p = Pipeline.model_validate(make_pipeline().model_dump() | changes)
    with pytest.raises(refusal):
        edits.apply(p, edit(**fields), at)


# Versions


def test_versions_along_a_life(world: "World", make_texts: Any) -> None:
    assert versions(world.p) == (1, 1, 1)
    world.cooperate()
    assert versions(world.p) == (1, 1, 3)
    world.edit(texts=make_texts("SELECT 1"))
    assert versions(world.p) == (2, 2, 4)
    world.cooperate()
    assert versions(world.p) == (2, 2, 6)
    world.edit(runtime_config={**world.p.runtime_config, "workers": 2})
    assert versions(world.p) == (3, 2, 7)
    world.edit(description="d", tags=("a",))
    world.edit(texts=make_texts("SELECT 1"))
    world.send("dismiss_error")
    assert versions(world.p) == (3, 2, 7)
    world.edit(texts=make_texts("SELECT nonsense"))
    world.cooperate()
    assert versions(world.p) == (4, 3, 9)


def test_resources_writes_refresh_and_wishes_do_not(world: "World") -> None:
    world.cooperate()
    world.send("start")
    assert versions(world.p) == (1, 1, 3)
    world.turn()
    assert (world.p.resources_status, world.p.refresh_version) == (ResourcesStatus.PROVISIONING, 4)
    world.cooperate()
    before = world.p.refresh_version
    world.send("stop", force=True)
    assert world.p.refresh_version == before
    world.turn()
    assert world.p.refresh_version == before + 1
    world.cooperate()
    assert world.p.refresh_version == before + 2
    world.send("clear")
    world.cooperate()
    assert versions(world.p) == (1, 1, before + 2)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"replace": True, "platform_version": "2"}, (2, 2, 2), id="PUT on a newer platform"),
        pytest.param({"platform_version": "2", "description": "d"}, (1, 1, 1), id="PATCH of the description"),
        pytest.param({"platform_version": "2", "name": "q"}, (2, 1, 2), id="PATCH of the name"),
        pytest.param({"program_config": {"profile": "dev"}, "name": "q"}, (2, 2, 2), id="two at once"),
    ],
)
def test_platform_and_program_versions(
    fields: dict[str, Any], expected: tuple[int, int, int], make_pipeline: Any, at: datetime
) -> None:
    edited = edits.apply(make_pipeline(), edit(**fields), at).pipeline
    assert versions(edited) == expected
    moved = fields.get("platform_version") == "2" and expected[1] == 2
    assert edited.platform_version == ("2" if moved else "1")


def test_a_patch_of_one_text_keeps_the_others(make_pipeline: Any, make_texts: Any, at: datetime) -> None:
    p = edits.apply(make_pipeline(), edit(texts=make_texts("SELECT 1")), at).pipeline
    only_udf = edit(texts=p.texts.of_json({"udf_rust": "fn f() {}"}))
    edited = edits.apply(p, only_udf, at).pipeline
    assert edited.texts.json_value == {
        "program_code": "SELECT 1",
        "udf_rust": "fn f() {}",
        "udf_toml": "",
    }


# Names, descriptions, tags, deletes, sizes


@pytest.mark.parametrize("name", ["a", "A9", "a-b", "a_b", "a" * 63, "0"])
def test_good_names(name: str) -> None:
    assert edits.check_name(name) == name


BAD_NAMES: list[tuple[str, type[Refusal], dict[str, Any] | None]] = [
    ("", errors.EmptyName, {}),
    ("a" * 64, errors.TooLongName, {"name": "a" * 64, "length": 64, "maximum": 63}),
    ("é" * 32, errors.TooLongName, {"name": "é" * 32, "length": 64, "maximum": 63}),
    *(
        (name, errors.NameDoesNotMatchPattern, None)
        for name in ("-a", "a-", "_a", "a_", "a b", "a\n", "é", "-")
    ),
]


@pytest.mark.parametrize(("name", "refusal", "details"), BAD_NAMES)
def test_bad_names(name: str, refusal: type[Refusal], details: dict[str, Any] | None) -> None:
    with pytest.raises(refusal) as refused:
        edits.check_name(name)
    if details is None:
        assert list(refused.value.details) == ["name", "pattern", "pattern_description"]
        assert refused.value.details["pattern"] == "^([A-Za-z0-9][-A-Za-z0-9_]*)?[A-Za-z0-9]$"
    else:
        assert refused.value.details == details


def test_descriptions() -> None:
    assert edits.check_description("é" * 300)
    with pytest.raises(refusals.TooLongDescription) as refused:
        edits.check_description("é" * 301)
    assert refused.value.details == {"length": 301, "maximum": 300}


def test_tags() -> None:
    good = ("a", "b" * 50, r"x ._/|\:=-9", "a")
    assert edits.check_tags(good) == good
    assert len(edits.check_tags(("t",) * 50)) == 50
    with pytest.raises(refusals.TooManyTags) as refused:
        edits.check_tags(("?",) * 51)
    assert refused.value.details == {"count": 51, "maximum": 50}
    for tag in ("", "b" * 51, "?", "é", "a,b", "a\n"):
        with pytest.raises(refusals.InvalidTag) as invalid:
            edits.check_tags(("fine", tag))
        assert list(invalid.value.details) == ["tag", "reason"]
        assert invalid.value.details["tag"] == tag


@pytest.mark.parametrize("status", ResourcesStatus)
@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("storage", StorageStatus)
def test_deletes(status: ResourcesStatus, wanted: bool, storage: StorageStatus, deployed: Any) -> None:
    p = deployed(status, wanted=wanted, storage_status=storage)
    expected: type[Refusal] | None = None
    if not p.fully_stopped:
        expected = refusals.DeleteRestrictedToFullyStopped
    elif storage is not StorageStatus.CLEARED:
        expected = refusals.DeleteRestrictedToClearedStorage
    if expected is None:
        edits.check_delete(p)
    else:
        with pytest.raises(expected):
            edits.check_delete(p)


def test_sizes_are_in_bytes() -> None:
    assert edits.encoded_size(edit(description="é" * 100)) == edits.encoded_size(edit(description="x" * 200))
    assert edits.encoded_size({"a": "b"}) == 10


def test_edits_are_told_apart_by_what_they_change() -> None:
    one = edit(description="a")
    assert one.fingerprint == edit(description="a", request_id="s", actor="bob").fingerprint
    assert len({one.fingerprint, edit(description="b").fingerprint, edit(tags=("a",)).fingerprint}) == 3


def test_a_pipeline_that_no_server_would_take_is_refused(make_pipeline: Any, at: datetime) -> None:
    noise = "".join(random.Random(1).choices(string.printable, k=2_000_000))
    too_much = edit(texts=Packed.of_json({"program_code": noise}))
    with pytest.raises(refusals.PipelineTooLarge) as refused:
        edits.apply(make_pipeline(), too_much, at)
    assert refused.value.details["size"] > refused.value.details["maximum"]


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"runtime_config": {"workers": 0}}, errors.InvalidRuntimeConfig),
        ({"program_config": {"profile": "fast"}}, errors.InvalidProgramConfig),
        ({"name": "not a name"}, errors.NameDoesNotMatchPattern),
    ],
)
def test_an_edit_from_elsewhere_is_checked_like_any_other(
    fields: dict[str, Any], refusal: type[Refusal], make_pipeline: Any, at: datetime
) -> None:
    with pytest.raises(refusal):
        edits.apply(make_pipeline(), edit(**fields), at)


def test_an_edit_says_nothing_that_the_first_release_does_not_know() -> None:
    said = edit(description="new").model_dump()
    assert "receipts_before" not in said
    renamed = edit(
        name="new", receipts_before=(Receipt(id="r", at=datetime(2026, 1, 1, tzinfo=UTC), fp="f"),)
    )
    assert renamed.model_dump()["receipts_before"]
    assert renamed.fingerprint == edit(name="new").fingerprint
