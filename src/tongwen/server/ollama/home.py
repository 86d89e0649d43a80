"""`GET /` and `GET /api/version`: what clients ask to learn that somebody is there."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from tongwen.version import __version__

router = APIRouter(tags=["Ollama"])


@router.api_route("/", methods=["GET", "HEAD"])
async def greet(request: Request) -> Response:
    """The words that Ollama's clients wait for."""
    return PlainTextResponse("Ollama is running")


@router.api_route("/api/version", methods=["GET", "HEAD"])
async def version() -> dict[str, str]:
    """The version of Tongwen."""
    return {"version": __version__}


def wants_page(request: Request) -> bool:
    """Whether a browser asks, and not a program: for the page, not for the words."""
    return "text/html" in request.headers.get("accept", "")
