"""AWS's Signature Version 4 as its servers check it, with nothing but hashlib and hmac.

Source: docs.aws.amazon.com, "Create a signed AWS API request" (read 2026-11). Written apart from who signs, so that each
proves the other. A provider whose keys are not listed takes any signature that is well formed: its secret is not known.
"""

import hashlib
import hmac
import re
from calendar import timegm
from time import strptime
from urllib.parse import quote

from penstock.simulate.reply import Call, Refused
from penstock.wire.http import Headers, header

SERVICE = "bedrock"
_MAX_SKEW_S = 300
_AUTHORIZATION = re.compile(
    r"^AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z0-9-]+)/aws4_request, "
    r"?SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})$"
)
_BLANKS = re.compile(r" +")


def access_key_of(headers: Headers) -> str:
    """The access key's id of a signed request, the key of a bearer, "" for neither."""
    told = (header(headers, b"authorization") or b"").decode("latin-1").strip()
    if told[:7].lower() == "bearer ":
        return told[7:].strip()
    found = _AUTHORIZATION.match(told)
    return found["key"] if found else ""


def check_signature(call: Call) -> None:
    """Refused as AWS refuses: no credential, an unknown one, a clock that is wrong, a signature that does not fit."""
    told = (header(call.headers, b"authorization") or b"").decode("latin-1").strip()
    if not told:
        raise Refused(403, "Missing Authentication Token", kind="MissingAuthenticationTokenException")
    if told[:7].lower() == "bearer ":
        if call.accepted is not None and call.key not in call.accepted:
            raise Refused(
                403,
                "The security token included in the request is invalid.",
                kind="UnrecognizedClientException",
            )
        return
    found = _AUTHORIZATION.match(told)
    if found is None:
        raise Refused(403, "Authorization header requires a signature.", kind="IncompleteSignatureException")
    stamp = (header(call.headers, b"x-amz-date") or b"").decode("latin-1")
    _check_time(stamp, found["day"], call)
    signed = found["headers"].split(";")
    if "host" not in signed or found["service"] != SERVICE:
        raise _does_not_match()
    secret = _secret(call, found["key"])
    if secret is None:
        return
    scope = f"{found['day']}/{found['region']}/{found['service']}/aws4_request"
    digest = hashlib.sha256(_canonical(call, signed).encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    if not hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), found["signature"]):
        raise _does_not_match()


def _check_time(stamp: str, day: str, call: Call) -> None:
    try:
        at_s = timegm(strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError as error:
        raise Refused(403, "x-amz-date is not valid.", kind="IncompleteSignatureException") from error
    if abs(at_s - call.unix_s) > _MAX_SKEW_S or not stamp.startswith(day):
        raise Refused(403, f"Signature expired: {stamp}", kind="InvalidSignatureException")


def _secret(call: Call, key_id: str) -> str | None:
    """The secret of a listed key; None where nothing is listed."""
    if call.accepted is None:
        return None
    for known in call.accepted:
        name, _, rest = known.partition(":")
        secret, _, token = rest.partition(":")
        if name == key_id and secret:
            sent = (header(call.headers, b"x-amz-security-token") or b"").decode("latin-1")
            if sent == token:
                return secret
    raise Refused(
        403, "The security token included in the request is invalid.", kind="UnrecognizedClientException"
    )


def _canonical(call: Call, signed: list[str]) -> str:
    path, _, query = call.target.partition("?")
    lines = [call.method, quote(path, safe="/~"), "&".join(sorted(query.split("&"))) if query else ""]
    for name in signed:
        values = [value.decode("latin-1").strip() for key, value in call.headers if key == name.encode()]
        lines.append(f"{name}:{','.join(_BLANKS.sub(' ', value) for value in values)}")
    lines += ["", ";".join(signed)]
    told = header(call.headers, b"x-amz-content-sha256")
    lines.append(told.decode("latin-1") if told is not None else hashlib.sha256(call.body).hexdigest())
    return "\n".join(lines)


def _does_not_match() -> Refused:
    return Refused(
        403,
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
        "and signing method. Consult the service documentation for details.",
        kind="InvalidSignatureException",
    )
