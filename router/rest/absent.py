"""Documented operations that this server does not have: their paths exist, and say so."""

from router.rest.errors import NotOffered
from router.rest.request import Endpoint, Endpoints, Request, Response


def control_endpoints() -> Endpoints:
    """Those of the control plane, by method and path."""
    backups = _absent("Backups are not there yet. A collection keeps what an index holds now.")
    restores = _absent("Restore jobs are not there yet: there are no backups to restore from.")
    schedules = _absent("Backup schedules are not there yet.")
    models = _absent("This server has no embedding models; create an index, and send it vectors.")
    return {
        ("POST", "/indexes/create-for-model"): models,
        ("POST", "/indexes/{name}/backups"): backups,
        ("GET", "/indexes/{name}/backups"): backups,
        ("GET", "/backups"): backups,
        ("GET", "/backups/{id}"): backups,
        ("DELETE", "/backups/{id}"): backups,
        ("POST", "/backups/{id}/create-index"): backups,
        ("GET", "/restore-jobs"): restores,
        ("GET", "/restore-jobs/{id}"): restores,
        ("GET", "/indexes/{name}/backup-schedules"): schedules,
        ("POST", "/indexes/{name}/backup-schedules"): schedules,
        ("GET", "/backup-schedules/{id}"): schedules,
        ("PATCH", "/backup-schedules/{id}"): schedules,
        ("DELETE", "/backup-schedules/{id}"): schedules,
        ("GET", "/backup-schedules/{id}/history"): schedules,
    }


def data_endpoints() -> Endpoints:
    """Those of the data plane, by method and path."""
    imports = _absent("Imports are not there yet; `torpor upsert` loads files.")
    records = _absent("This server has no embedding models; send vectors instead of text.")
    return {
        ("POST", "/bulk/imports"): imports,
        ("GET", "/bulk/imports"): imports,
        ("GET", "/bulk/imports/{id}"): imports,
        ("DELETE", "/bulk/imports/{id}"): imports,
        ("POST", "/records/namespaces/{namespace}/upsert"): records,
        ("POST", "/records/namespaces/{namespace}/search"): records,
    }


def _absent(message: str) -> Endpoint:
    async def refuse(request: Request) -> Response:
        raise NotOffered(message)

    return refuse
