"""Count what the objects of a namespace use of a quota, as the server has them at one time.

First the quota is read, then the objects. If something is charged in between, the quota has
another version, and the write of the status is refused. So no charge is ever lost by a count.
"""

from control.api import kinds
from control.api.quota.count import counted
from control.api.quota.model import ResourceQuota
from control.api.quota.usage import resource_of
from control.client.rest import Client
from control.controllers.actions import Recount


async def recounted(client: Client, action: Recount) -> ResourceQuota | None:
    """Write what is used, and return the quota; None if it is gone. Raises ClientError."""
    meta = action.quota.metadata
    name = f"metadata.name={meta.name}"
    found = await client.list(kinds.RESOURCE_QUOTA, meta.namespace, field_selector=name)
    if not found.items:
        return None
    quota = found.items[0]
    objects = {
        resource_of(kind): [item.wire() for item in (await client.list(kind, meta.namespace)).items]
        for kind in action.kinds
    }
    status = counted(quota, objects, action.now)
    if status == quota.status:
        return quota
    changed = quota.model_copy(update={"status": status})
    return await client.update_status(kinds.RESOURCE_QUOTA, changed)
