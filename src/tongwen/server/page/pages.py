"""`GET /` and `/page/*`: the web chat's files, as they lie in the package."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from tongwen.server.errors import ApiError

router = APIRouter(include_in_schema=False)

GREETING = "Ollama is running"
"""What Ollama answers at `/`; its clients ask for it to see whether somebody is there."""

_SCRIPTS = (
    "early.js",
    "announcer.js",
    "blocks.js",
    "chat.js",
    "conversation.js",
    "dialogs.js",
    "dom.js",
    "drawer.js",
    "inline.js",
    "look.js",
    "markdown.js",
    "models.js",
    "preferences.js",
    "run.js",
    "server.js",
    "sidebar.js",
    "store.js",
    "toasts.js",
    "transfer.js",
    "turns.js",
    "words.js",
)

MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "index.html": "text/html; charset=utf-8",
        "style.css": "text/css; charset=utf-8",
        "prose.css": "text/css; charset=utf-8",
        "icon.svg": "image/svg+xml",
        **dict.fromkeys(_SCRIPTS, "text/javascript; charset=utf-8"),
    }
)
"""Every file of the page; a name that is not here is never looked for on the disk."""

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # text that is parsed as HTML is refused outright
        "trusted-types 'none'",
    )
)
"""What the page may do: run and fetch what this server holds."""

_HEAD = MappingProxyType(
    {
        "Cache-Control": "no-cache",  # kept, and asked after: an update is seen at once
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
)
_STATIC = Path(__file__).parent / "static"


@router.api_route("/", methods=["GET", "HEAD"])
def greet(request: Request) -> Response:
    """The page for browsers, a greeting for programs."""
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(GREETING, headers={"Vary": "Accept"})
    answer = page_file("index.html", request.headers.get("if-none-match", ""))
    answer.headers["Vary"] = "Accept"
    return answer


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
def get_page_file(request: Request, name: str) -> Response:
    """A file of the page."""
    return page_file(name, request.headers.get("if-none-match", ""))


def page_file(name: str, known: str = "") -> Response:
    """A file of the page, or only word that it is as it was.

    Args:
        name: Of `MEDIA_TYPES`.
        known: The tags that the browser holds, as `If-None-Match` lists them.

    Raises:
        ApiError: There is no such file (404).
    """
    media_type = MEDIA_TYPES.get(name)
    if media_type is None:
        raise ApiError(404, "there is no such file of the page", "not_found")
    content = (_STATIC / name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    head = {**_HEAD, "ETag": tag}
    if tag in (each.strip().removeprefix("W/") for each in known.split(",")):
        return Response(status_code=304, headers=head)
    return Response(content, media_type=media_type, headers=head)
