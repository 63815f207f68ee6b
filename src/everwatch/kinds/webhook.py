"""The kind ``webhook``: a request to a URL that is signed and named as Standard Webhooks says.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from standardwebhooks import Webhook

from everwatch.core.errors import InvalidInput
from everwatch.encoding.templates import check_template, default_template, render, render_text, tick_id, tick_values
from everwatch.kinds.http import explain_failure, host_of
from everwatch.kinds.protocol import SECRET, FieldError, RunContext
from everwatch.kinds.shared.http_config import HeaderValue, SecretText, Url, check_headers, check_url
from everwatch.model import Outcome, Status, Tick
from everwatch.network.http_request import Request, RequestFailed
from everwatch.network.tls_options import ClientCertificate, Pem, TlsOptions, check_ca

_OWN_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
_SECRET_PREFIX = "whsec_"  # noqa: S105  (no secret, but how one begins)
_SECRET_BYTES = range(24, 65)
_LONGEST_HEADER_VALUE = 8192

Secret = Annotated[str, msgspec.Meta(max_length=128)]
Secrets = Annotated[list[Secret], msgspec.Meta(min_length=1, max_length=4)]


class WebhookConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``secret``: a list signs with each of them, so that a receiver can move to another; empty: no signature.

    ``template`` and the values of ``headers`` and ``secret_headers`` are templates (``everwatch.encoding.templates``).
    """

    url: Url
    template: Any = msgspec.field(default_factory=default_template)
    secret: Annotated[Secret | Secrets, msgspec.Meta(extra=SECRET)] = ""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, HeaderValue] = {}
    secret_headers: dict[str, SecretText] = {}
    verify_tls: bool = True
    ca: Pem = ""
    client_certificate: ClientCertificate | None = None

    def __post_init__(self) -> None:
        check_url(self.url)
        check_headers(self.headers, self.secret_headers)
        check_ca(self.ca, verify=self.verify_tls, verify_field="verify_tls")
        for field, headers in (("headers", self.headers), ("secret_headers", self.secret_headers)):
            for name in headers:
                if name.lower() in _OWN_HEADERS:
                    raise FieldError(field, f"the header {name} is set by the kind")
        try:
            check_template(self.template, "template")
            check_template(self.headers, "headers")
            check_template(self.secret_headers, "secret_headers")
        except InvalidInput as error:
            raise FieldError(error.path, error.reason) from None
        if self.secret:
            for index, secret in enumerate(self.secrets):
                check_secret(secret, "secret" if isinstance(self.secret, str) else f"secret[{index}]")

    def __repr__(self) -> str:
        return f"WebhookConfig({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        # secret, headers and template may hold what no log is to show
        return [("url", self.url), ("method", self.method)]

    @property
    def secrets(self) -> list[str]:
        """The secrets to sign with; none where ``secret`` is empty."""
        if isinstance(self.secret, str):
            return [self.secret] if self.secret else []
        return self.secret


class WebhookKind:
    """Sends one request and looks at the status of the answer. Timings as of the kind ``http``."""

    name = "webhook"
    config_type = WebhookConfig
    default_schedule_ms = 3_600_000

    @property
    def inline(self) -> Literal[False]:
        return False

    def target(self, config: WebhookConfig) -> str:
        """The URL's host."""
        return host_of(config.url)

    async def run(self, config: WebhookConfig, tick: Tick, context: RunContext) -> Outcome:
        """Fill in the template, sign and send it; any status but 2xx is a failure. Redirects are not followed.

        The header ``webhook-id`` is the same at each attempt, so a receiver that remembers it acts once.
        """
        try:
            values = tick_values(tick)
            body = render(config.template, values, "$.config.template")
            headers = _headers(config, values)
        except InvalidInput as error:
            return Outcome(Status.FAILURE, str(error))
        headers |= signature_headers(config.secrets, tick_id(tick), context.clock.now_ms() // 1000, body.decode())
        client = context.http
        probe = client.new_probe()
        options = TlsOptions(config.verify_tls, config.ca, config.client_certificate)
        request = Request(config.method, config.url, headers, body, tls=options)
        try:
            reason = _judge((await client.send(request, probe)).status)
        except RequestFailed as error:
            reason = await explain_failure(error, request, probe, tick, context, str)
        return Outcome(Status.FAILURE if reason else Status.SUCCESS, reason, probe.timings())


def signature_headers(secrets: list[str], webhook_id: str, timestamp_s: int, body: str) -> dict[str, str]:
    """The headers that Standard Webhooks defines; without secrets there is no signature among them."""
    at = datetime.fromtimestamp(timestamp_s, UTC)
    signatures = [Webhook(secret).sign(webhook_id, at, body) for secret in secrets]
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(timestamp_s)}
    return headers | ({"webhook-signature": " ".join(signatures)} if signatures else {})


def _headers(config: WebhookConfig, values: Mapping[str, Any]) -> dict[str, str]:
    headers = {}
    for field, templates in (("headers", config.headers), ("secret_headers", config.secret_headers)):
        for name, template in templates.items():
            path = f"$.config.{field}.{name}"
            headers[name] = render_text(template, values, path)
            if len(headers[name]) > _LONGEST_HEADER_VALUE:
                raise InvalidInput(f"filled in, the header is longer than {_LONGEST_HEADER_VALUE} characters", path)
    try:
        check_headers(headers, {})  # a value may have brought a line break
    except FieldError as error:
        raise InvalidInput(str(error), "$.config.headers") from None
    if "content-type" not in map(str.lower, headers):
        headers["Content-Type"] = "application/json"
    return headers


def _judge(status: int) -> str:
    if 200 <= status <= 299:
        return ""
    hint = " (redirects are not followed)" if 300 <= status <= 399 else ""
    return f"status {status}, expected 200-299{hint}"


def check_secret(secret: str, field: str) -> None:
    """Raise FieldError for text that is no secret of Standard Webhooks."""
    # no part of it is quoted: the sentence goes to logs and dead letters
    if not secret.startswith(_SECRET_PREFIX):
        raise FieldError(field, f"a secret begins with {_SECRET_PREFIX}")
    encoded = secret.removeprefix(_SECRET_PREFIX)
    try:
        size = len(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
    except (binascii.Error, ValueError):
        raise FieldError(field, f"what follows {_SECRET_PREFIX} is not base64") from None
    if size not in _SECRET_BYTES:
        raise FieldError(field, f"a secret is {_SECRET_BYTES[0]} to {_SECRET_BYTES[-1]} bytes in base64, not {size}")
