"""`GET /` and `GET /api/version`: what clients ask to learn that somebody is there."""

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from tongwen.version import __version__

router = APIRouter(tags=["Ollama"])


@router.head("/", include_in_schema=False)
@router.get("/")
async def greet() -> Response:
    """The words that Ollama's clients wait for."""
    return PlainTextResponse("Ollama is running")


@router.head("/api/version", include_in_schema=False)
@router.get("/api/version")
async def version() -> dict[str, str]:
    """The version of Tongwen."""
    return {"version": __version__}
