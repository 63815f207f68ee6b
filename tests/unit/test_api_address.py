"""The address of the API: its own port, or a free one for who may take any."""

import pytest

from everwatch.api.address import address_of, bound_socket
from everwatch.core.config import load_settings
from everwatch.core.errors import SettingsError


def test_a_port_that_is_taken_is_told_or_a_free_one_is_taken() -> None:
    with bound_socket(load_settings(api_port=0)) as taken:
        settings = load_settings(api_port=taken.getsockname()[1])
        with pytest.raises(SettingsError, match="EVERWATCH_API_PORT"):
            bound_socket(settings)
        with bound_socket(settings, or_free=True) as free:
            assert free.getsockname()[1] not in (0, settings.api_port)
            assert address_of(free) == f"http://127.0.0.1:{free.getsockname()[1]}"
