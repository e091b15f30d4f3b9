"""What stands on the page of a run in Prefect: written once, then over."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from uuid import UUID

from httpx import HTTPStatusError
from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate


async def write(kind: str, data: Any, words: str, *, key: str | None = None) -> UUID:
    """Put an artifact on the page of the run that this is called in; its id.

    NOTE: not by Prefect's own `Artifact`, which writes text as JSON of that text: Markdown would
    stand there in quotes and on one line, and a picture's address would be none.
    """
    run = runtime.flow_run.id
    made = ArtifactCreate(
        type=kind,
        key=key,
        description=words,
        data=data,
        flow_run_id=None if run is None else UUID(str(run)),
    )
    async with get_client() as client:
        return (await client.create_artifact(made)).id


async def write_over(artifact: UUID, data: Any, words: str) -> bool:
    """Let the artifact say this; False where it is gone, since a person deleted it in Prefect."""
    try:
        async with get_client() as client:
            await client.update_artifact(artifact, ArtifactUpdate(data=data, description=words))
    except HTTPStatusError as error:
        if error.response.status_code != HTTPStatus.NOT_FOUND:
            raise
        return False
    return True
