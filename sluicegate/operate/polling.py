"""Whether somebody polls a task queue: the readiness of a worker, seen from the server's side.

`python -m sluicegate.operate.polling workflow|activity QUEUE` exits with 0 when a worker of this machine (by
host name) has polled lately; containers use it as their health check.
"""

import asyncio
import socket
import sys
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from sluicegate import temporal

KINDS = {
    "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}
LATELY = timedelta(minutes=2)
"""A poll lasts a minute, and its poller is named when it begins."""


async def pollers(client: Client, kind: str, queue: str) -> set[str]:
    """Give the identities (`pid@host` by default) of the workers that have polled a queue lately."""
    since = datetime.now(UTC) - LATELY
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=KINDS[kind]
        )
    )
    return {poller.identity for poller in answer.pollers if poller.last_access_time.ToDatetime(UTC) >= since}


async def main(kind: str, queue: str) -> int:
    """Answer by exit status."""
    try:
        client = await temporal.connect()
        found = await pollers(client, kind, queue)
    except (RuntimeError, RPCError):
        return 1
    here = f"@{socket.gethostname()}"
    return 0 if any(identity.endswith(here) for identity in found) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:3])))
