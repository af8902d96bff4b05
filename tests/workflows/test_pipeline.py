"""One pipeline's workflow on a real server with a fake host: verbs, outcomes, projection."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError

from sluicegate import errors, temporal
from sluicegate.lifecycle import limits, refusals
from sluicegate.lifecycle.commands import Stop, message
from sluicegate.lifecycle.effects import Failure
from sluicegate.lifecycle.status import ProgramStatus, RuntimeDesired, RuntimeStatus
from sluicegate.lifecycle.values import Packed

Eventually = Callable[..., Awaitable[Any]]


async def reaches(eventually: Eventually, subject: Any, status: str) -> None:
    """Wait for a deployment status."""

    async def there() -> bool:
        return bool(await subject.status() == status)

    await eventually(there)


async def test_a_start_deploys_and_shows_in_memo_and_search_attributes(
    running: Any, eventually: Eventually
) -> None:
    memo = await running.memo()
    assert memo["status"]["deployment_status"] == "Running"
    assert memo["status"]["deployment_desired_status"] == "Running"
    assert memo["location"] == "127.0.0.1:9"

    async def listed() -> bool:
        query = f'PipelineTenant="{running.tenant_id}" AND PipelineStatus="Running"'
        return [w.id async for w in running.client.list_workflows(query)] == [running.handle.id]

    await eventually(listed)


async def test_pause_and_resume_steer_the_process(running: Any, eventually: Eventually) -> None:
    receipt = await running.tell("pause")
    assert receipt["info"] == "Pipeline transitioning from Running to Paused"
    await reaches(eventually, running, "Paused")
    await running.tell("resume")
    await reaches(eventually, running, "Running")
    events = await running.events()
    seen = [e["deployment_runtime_status"] for e in reversed(events) if e["deployment_runtime_status"]]
    assert seen == ["Initializing", "Running", "Paused", "Running"]


async def test_an_activation_ends_a_standby(create: Any, eventually: Eventually) -> None:
    sync = {"storage": {"backend": {"name": "file", "config": {"sync": {"bucket": "b"}}}}}
    subject = await create(runtime_config=sync)
    assert (await subject.tell("start", initial="Standby"))["code"] is None
    await reaches(eventually, subject, "Standby")
    assert (await subject.tell("resume"))["code"] == "InvalidTransition"
    refused = await subject.tell("activate", initial="nonsense")
    assert (refused["code"], refused["info"]) == ("InvalidActivateStatus", {"initial": "nonsense"})
    receipt = await subject.tell("activate")
    assert receipt["info"] == "Pipeline transitioning from Standby to Running"
    await reaches(eventually, subject, "Running")
    [told] = subject.script.steered
    assert (told.desired, told.initial) == ("Running", "Standby")


async def test_an_approval_is_told_with_its_flags(create: Any, script: Any, eventually: Eventually) -> None:
    subject = await create(script=script(asks=True))
    await subject.tell("start", initial="Paused", silent_bootstrap=True)
    await reaches(eventually, subject, "AwaitingApproval")
    assert (await subject.tell("approve", concurrent_bootstrap=True))["info"] == "Bootstrap approved"
    await reaches(eventually, subject, "Paused")
    [told] = subject.script.approvals
    assert (told.silent_bootstrap, told.concurrent_bootstrap) == (False, True)
    assert (await subject.tell("approve", silent_bootstrap=True))["code"] is None

    async def told_again() -> bool:
        return len(subject.script.approvals) == 2

    await eventually(told_again)


async def test_what_a_start_chose_reaches_the_host_whatever_is_approved(
    create: Any, script: Any, eventually: Eventually
) -> None:
    subject = await create(script=script(asks=True))
    await subject.tell("start", checkpoint="none")
    await reaches(eventually, subject, "AwaitingApproval")
    await subject.tell("approve")
    await reaches(eventually, subject, "Running")
    assert (await subject.tell("start"))["code"] == "BootstrapPolicyImmutableUnlessStopped"
    assert (await subject.tell("start", checkpoint="none"))["code"] is None
    await subject.tell("stop", force=True)
    await reaches(eventually, subject, "Stopped")
    await subject.tell("start")
    await reaches(eventually, subject, "AwaitingApproval")
    assert [deployment.checkpoint for deployment in subject.script.deployments] == ["none", None]


async def test_a_forced_stop_ends_the_process_and_a_clear_frees_the_storage(
    running: Any, eventually: Eventually
) -> None:
    await running.tell("stop", force=True)
    await reaches(eventually, running, "Stopped")
    assert running.script.live == set()
    await running.tell("clear")

    async def cleared() -> bool:
        return bool((await running.ask())["status"]["storage_status"] == "Cleared")

    await eventually(cleared)


async def test_a_graceful_stop_suspends_first(running: Any, eventually: Eventually) -> None:
    receipt = await running.tell("stop")
    assert receipt["info"] == "Pipeline is suspending"
    await reaches(eventually, running, "Stopped")
    status = (await running.ask())["status"]
    assert status["deployment_error"] is None


async def test_a_checkpoint_that_takes_too_long_is_not_waited_for(
    running: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SUSPEND_WITHIN", timedelta(seconds=1))
    running.script.steer_gate.clear()
    await running.tell("stop")
    await reaches(eventually, running, "Stopped")
    error = (await running.ask())["status"]["deployment_error"]
    assert error["error_code"] == "AutomatonSuspendingComputeTimeout"
    assert running.script.live == set()


async def test_force_does_not_wait_for_a_checkpoint(running: Any, eventually: Eventually) -> None:
    running.script.steer_gate.clear()
    await running.tell("stop")
    assert (await running.tell("stop", force=True))["code"] is None
    await reaches(eventually, running, "Stopped")
    assert (await running.ask())["status"]["deployment_error"] is None
    assert running.script.live == set()


async def test_an_early_start_waits_for_the_compiler(
    create: Any, script: Any, eventually: Eventually
) -> None:
    subject = await create(script=script(compile_gate=asyncio.Event()))
    assert (await subject.tell("start", initial="Paused"))["code"] is None
    status = (await subject.ask())["status"]
    assert (status["deployment_status"], status["deployment_desired_status"]) == ("Stopped", "Paused")
    subject.script.compile_gate.set()
    await reaches(eventually, subject, "Paused")


async def test_a_program_in_error_gives_an_early_start_up(
    create: Any, script: Any, eventually: Eventually
) -> None:
    scripted = script(compile_gate=asyncio.Event())
    message = {"warning": False, "message": "no such table"}
    scripted.outcome = scripted.outcome.model_copy(
        update={"sql_compilation": {"exit_code": 1, "messages": [message]}, "plan": None}
    )
    subject = await create(script=scripted)
    await subject.tell("start")
    scripted.compile_gate.set()

    async def refused() -> bool:
        return bool((await subject.ask())["status"]["deployment_error"])

    await eventually(refused)
    status = (await subject.ask())["status"]
    assert status["deployment_error"]["error_code"] == "StartFailedDueToFailedCompilation"
    assert "no such table" in status["deployment_error"]["message"]
    assert status["deployment_desired_status"] == "Stopped"
    assert status["program_status"] == "SqlError"
    refusal = await subject.tell("start", dismiss_error=True)
    assert refusal["code"] == "CannotStartWithCompilationError"


async def test_a_rejected_provision_ends_stopped_with_its_error(
    create: Any, script: Any, eventually: Eventually
) -> None:
    error = ApplicationError("exit code 3", type="ProvisionRejected", non_retryable=True)
    subject = await create(script=script(provision_error=error))
    await subject.tell("start")

    async def failed() -> bool:
        status = (await subject.ask())["status"]
        return status["deployment_status"] == "Stopped" and bool(status["deployment_error"])

    await eventually(failed)
    problem = (await subject.ask())["status"]["deployment_error"]
    assert problem["error_code"] == "RunnerProvisionError"
    assert "exit code 3" in problem["message"]


async def test_a_stop_calls_off_a_provision_at_once(create: Any, script: Any, eventually: Eventually) -> None:
    subject = await create(script=script(provision_gate=asyncio.Event()))
    await subject.tell("start")

    async def begun() -> bool:
        return bool(subject.script.provisioned)

    await eventually(begun)
    await subject.tell("stop", force=True)
    await reaches(eventually, subject, "Stopped")
    subject.script.provision_gate.set()
    assert subject.script.fenced == 1
    await subject.tell("start")
    await reaches(eventually, subject, "Running")
    assert subject.script.live == {2}


async def test_a_crash_shows_and_is_not_restarted(running: Any, eventually: Eventually) -> None:
    boom = Failure(message="it fell over", error_code="RuntimeError.WorkerPanic")
    running.script.say(RuntimeStatus.RUNNING, RuntimeDesired.RUNNING, fatal=boom)
    await reaches(eventually, running, "Stopped")
    status = (await running.ask())["status"]
    assert status["deployment_error"] == boom.model_dump()
    assert status["deployment_desired_status"] == "Stopped"


async def test_a_failing_deprovision_is_retried_and_says_why(running: Any, eventually: Eventually) -> None:
    running.script.deprovision_failures = 3
    await running.tell("stop", force=True)

    async def explained() -> bool:
        details = (await running.descriptor())["deployment_resources_status_details"]
        return details is not None and "the disk is full" in details["reason"]

    await eventually(explained)
    assert await running.status() == "Stopping"
    await reaches(eventually, running, "Stopped")


async def test_an_edit_is_applied_once_and_compiles_again(create: Any, eventually: Eventually) -> None:
    subject = await create()
    code = Packed.of_json({"program_code": "CREATE TABLE t (a INT);"})
    answer = await subject.edit(texts=code, request_id="once")
    again = await subject.edit(texts=code, request_id="once")
    assert answer["program_code"] == again["program_code"] == "CREATE TABLE t (a INT);"
    assert answer["version"] == again["version"] == 2

    async def compiled() -> bool:
        status = (await subject.ask())["status"]
        return bool((status["program_status"], status["program_version"]) == ("Success", 2))

    await eventually(compiled)


async def test_a_refused_edit_leaves_no_history(running: Any) -> None:
    async def events() -> int:
        return int((await running.handle.describe()).history_length)

    before = await events()
    runtime_config = (await running.descriptor())["runtime_config"]
    with pytest.raises(refusals.UpdateRestrictedToStopped):
        await running.edit(runtime_config={**runtime_config, "workers": 3})
    assert await events() == before


async def test_a_rename_moves_the_pipeline_and_a_taken_name_changes_nothing(
    create: Any, eventually: Eventually
) -> None:
    subject = await create("old")
    await create("taken")
    with pytest.raises(errors.DuplicateName):
        await subject.edit(name="taken")
    assert (await subject.ask())["status"]["name"] == "old"
    answer = await subject.edit(name="new")
    assert (answer["name"], answer["id"]) == ("new", subject.id)

    async def closed() -> bool:
        return (await subject.handle.describe()).status is WorkflowExecutionStatus.COMPLETED

    await eventually(closed)
    renamed = subject.client.get_workflow_handle(f"pipeline/{subject.tenant_id}/new")
    subject.handle = renamed
    await subject.tell("start")
    await reaches(eventually, subject, "Running")


@pytest.mark.parametrize("attempt", range(4))
async def test_nothing_accepted_during_a_rename_is_lost(create: Any, attempt: int) -> None:
    subject = await create("old")
    ids = [f"meanwhile-{number}" for number in range(10)]
    stops = [message("stop", Stop(force=True), request_id=request_id, actor="tester") for request_id in ids]
    renamed, edited, *sent = await asyncio.gather(
        subject.edit(name="new"),
        subject.edit(description="meanwhile"),
        *(subject.handle.signal("stop", stop) for stop in stops),
        return_exceptions=True,
    )
    assert isinstance(renamed, dict)
    assert renamed["name"] == "new"
    subject.handle = subject.client.get_workflow_handle(f"pipeline/{subject.tenant_id}/new")
    receipts = {receipt["id"] for receipt in (await subject.ask(*ids))["receipts"]}
    assert receipts == {request_id for request_id, failure in zip(ids, sent, strict=True) if failure is None}
    kept = (await subject.descriptor())["description"] == "meanwhile"
    assert kept == (not isinstance(edited, BaseException))


async def test_an_heir_that_is_never_handed_anything_frees_the_name(
    create: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HANDED_OVER_WITHIN", timedelta(milliseconds=200))
    heir = await create(altered={"fenced": True})

    async def closed() -> bool:
        return (await heir.handle.describe()).status is WorkflowExecutionStatus.COMPLETED

    await eventually(closed)


async def test_a_hand_over_that_fails_leaves_the_old_name_as_it_was(
    create: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = await create("p-0")
    with monkeypatch.context() as hasty:
        hasty.setattr(limits, "HANDED_OVER_WITHIN", timedelta(seconds=-1))
        refused, attempts = False, 0
        while not refused:  # now and then the heir is told before it can give up
            attempts += 1
            assert attempts < 100
            try:
                await subject.edit(name=f"p-{attempts}")
            except errors.OutcomeUnknown:
                refused = True
            else:
                new = temporal.pipeline_workflow_id(subject.tenant_id, f"p-{attempts}")
                subject.handle = subject.client.get_workflow_handle(new)
    assert (await subject.tell("dismiss_error"))["code"] is None
    assert (await subject.ask())["status"]["name"] == f"p-{attempts - 1}"
    assert (await subject.edit(name=f"p-{attempts}"))["id"] == subject.id


async def test_all_arguments_of_a_held_message_reach_the_heir(create: Any) -> None:
    subject = await create("old")
    odd = [{"request_id": f"odd-{number}"} for number in range(10)]
    renamed, *_ = await asyncio.gather(
        subject.edit(name="new"),
        *(subject.handle.signal("start", args=[message, {}]) for message in odd),
        return_exceptions=True,
    )
    assert isinstance(renamed, dict)
    subject.handle = subject.client.get_workflow_handle(f"pipeline/{subject.tenant_id}/new")
    receipts = (await subject.ask(*(message["request_id"] for message in odd)))["receipts"]
    assert {receipt["code"] for receipt in receipts} == {"MessageNotUnderstood"}


async def test_a_cancellation_from_outside_ends_no_pipeline(running: Any, eventually: Eventually) -> None:
    await running.handle.cancel()
    await running.tell("pause")
    await reaches(eventually, running, "Paused")


async def test_an_effect_that_cannot_even_be_asked_for_is_tried_again_and_says_why(
    create: Any, eventually: Eventually
) -> None:
    subject = await create(altered={"program_status": ProgramStatus.SUCCESS})  # without any plan
    await subject.tell("start")

    async def says_why() -> bool:
        details = (await subject.descriptor())["deployment_resources_status_details"]
        return "lacks its deployment" in str(details)

    await eventually(says_why)
    await subject.tell("stop", force=True)
    await reaches(eventually, subject, "Stopped")


async def test_a_delete_frees_the_name_and_leaves_a_clean_up(create: Any, eventually: Eventually) -> None:
    subject = await create()
    await subject.tell("start")
    with pytest.raises(refusals.DeleteRestrictedToFullyStopped):
        await subject.delete()
    await reaches(eventually, subject, "Running")
    await subject.tell("stop", force=True)
    await reaches(eventually, subject, "Stopped")
    await subject.tell("clear")

    async def deleted() -> bool:
        await subject.delete()
        return True

    await eventually(deleted)
    again = await create()
    assert again.id != subject.id

    async def removed() -> bool:
        return bool(subject.script.removed)

    await eventually(removed)


async def test_an_idle_pipeline_adds_no_history(running: Any, eventually: Eventually) -> None:
    running.script.look.set()

    async def looked() -> bool:
        return not running.script.look.is_set()

    before = (await running.handle.describe()).history_length
    await eventually(looked)
    assert (await running.handle.describe()).history_length == before
