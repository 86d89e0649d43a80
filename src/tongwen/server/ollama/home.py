"""`GET /api/version`: which program is there; `page/pages.py` has the greeting at `/`."""

from fastapi import APIRouter

from tongwen.version import __version__

router = APIRouter(tags=["Ollama"])


@router.head("/api/version", include_in_schema=False)
@router.get("/api/version")
async def version() -> dict[str, str]:
    """The version of Tongwen."""
    return {"version": __version__}
