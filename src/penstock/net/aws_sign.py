"""AWS's Signature Version 4 on a request that is ready to go: the last thing before the transport.

Theory. AWS signs the method, the path, the headers and a hash of the body with a key derived from the secret, the day, the
region and the service; nothing of the secret travels. botocore, AWS's own, computes it: its rules for paths (escaped twice),
headers and session tokens are not ours to repeat. A request that carries an ``authorization`` already (a Bedrock API key)
goes out as it is.

Rules
- Neither secret nor session token appears in a repr, a log or an error. botocore logs canonical requests at debug level
  only, with the session token in it: its logger is held above that.
- botocore is imported when the first signer is made: it is an extra, and most gateways have no AWS target.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

from penstock.base.endpoint import Endpoint
from penstock.base.errors import ConfigFault
from penstock.wire.http import WireRequest, header

SERVICE: Final = "bedrock"
_SIGNED: Final = frozenset({b"content-type", b"host"})


class AwsSigner:
    """Signs requests to one endpoint of one region. Safe to share: it keeps nothing of a request."""

    def __init__(self, endpoint: Endpoint, region: str, path: str, *, service: str = SERVICE) -> None:
        """ConfigFault at ``path`` where botocore is not installed."""
        try:
            from botocore.auth import SigV4Auth  # noqa: PLC0415 - see the module's rules
            from botocore.awsrequest import AWSRequest  # noqa: PLC0415
            from botocore.credentials import Credentials  # noqa: PLC0415
        except ImportError as error:
            raise ConfigFault(
                "AWS access keys are signed with by botocore, which is not installed.",
                path=path,
                hint="Install penstock[bedrock], or use a Bedrock API key (AWS_BEARER_TOKEN_BEDROCK).",
            ) from error
        logging.getLogger("botocore.auth").setLevel(logging.WARNING)
        self._endpoint = endpoint
        self._region = region
        self._service = service
        self._auth: Callable[..., Any] = SigV4Auth
        self._request: Callable[..., Any] = AWSRequest
        self._credentials: Callable[..., Any] = Credentials

    def __repr__(self) -> str:
        """Where, never with what."""
        return f"<AwsSigner for {self._service} in {self._region}>"

    def sign(self, request: WireRequest, credential: str) -> WireRequest:
        """The request with its signature. ``credential`` is ``access-key-id:secret[:session-token]``."""
        if header(request.headers, b"authorization") is not None:
            return request
        key_id, _, rest = credential.partition(":")
        secret, _, token = rest.partition(":")
        endpoint = self._endpoint
        authority = endpoint.authority.decode("ascii")
        signed = self._request(
            method=request.method.decode("ascii"),
            url=f"{endpoint.scheme}://{authority}{endpoint.base_path.decode('ascii')}{request.path.decode('ascii')}",
            data=request.body,
            # Proxies and transports may change other headers; these two arrive as they leave.
            headers={
                "host": authority,
                **{name.decode(): value.decode() for name, value in request.headers if name in _SIGNED},
            },
        )
        self._auth(self._credentials(key_id, secret, token or None), self._service, self._region).add_auth(
            signed
        )
        added = [
            (name.lower().encode("ascii"), str(value).encode("ascii"))
            for name, value in signed.headers.items()
            if name.lower() not in ("host", "content-type")
        ]
        return WireRequest(
            request.method, request.path, [*request.headers, *added], request.body, request.adjusted
        )
