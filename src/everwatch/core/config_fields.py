"""Marks and errors of the fields of a kind's config, for what validates them beside the kinds (TLS options)."""

SECRET = {"secret": True}
"""Mark of a config's field that is a secret, ``Annotated[str, msgspec.Meta(extra=SECRET)]``: it is stored encrypted
and shown redacted (``config_secrets``)."""


class FieldError(ValueError):
    """Raised in a config's ``__post_init__`` when ``field`` is wrong; ``str()`` is one sentence."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
