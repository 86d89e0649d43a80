"""Where an endpoint is, and with which key it is asked."""

import ipaddress
import re

import httpx2

from tongwen.errors import RequestError


def base_of(endpoint: str) -> str:
    """Where `/chat/completions` is appended: below `/v1`, where no other path is given.

    Raises:
        RequestError: It is no such address, or holds a password or a query.
    """
    try:
        url = httpx2.URL(endpoint)
    except httpx2.InvalidURL as error:
        raise RequestError("`endpoint` is no URL", hint="http://127.0.0.1:8000") from error
    if url.userinfo:
        raise RequestError("`endpoint` holds a password", hint="give it as the API key")
    is_host = re.fullmatch(r"[^\s%]+", url.host) and 0 < (url.port or 80) < 65_536
    if url.scheme not in ("http", "https") or not is_host:
        raise RequestError(f"`{endpoint}` is no endpoint", hint="http://127.0.0.1:8000")
    if url.query or url.fragment:
        raise RequestError(f"`{endpoint}` is no endpoint: it goes on after its path")
    base = str(url).rstrip("/")
    for path in ("/chat/completions", "/completions"):
        base = base.removesuffix(path)
    return base if httpx2.URL(base).path.strip("/") else f"{base}/v1"


def is_loopback(endpoint: str) -> bool:
    """Whether an endpoint is on this machine."""
    host = httpx2.URL(endpoint).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bearer(api_key: str | None) -> dict[str, str]:
    """The header that shows a key.

    Raises:
        RequestError: It cannot stand in a header.
    """
    if api_key is None:
        return {}
    if not re.fullmatch(r"[!-~]+", api_key):
        raise RequestError("the API key is empty, or holds blanks or what is not ASCII")
    return {"Authorization": f"Bearer {api_key}"}
