"""The person's side of AWS: botocore's chain of credentials, and the region."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from hutctl.client import Unreachable
from hutctl.remote.faults import Access, credentials_fault, no_credentials

__all__ = ["Account"]

_CONNECT_SECONDS = 10
_READ_SECONDS = 20


class Account:
    """Credentials and clients of one profile.

    Parameters
    ----------
    target
        Name of the target, for messages.
    profile, region
        None for what the environment and the configuration of AWS say.
    """

    def __init__(self, target: str, profile: str | None, region: str | None) -> None:
        self._target = target
        self._profile = profile
        self._region = region
        self._session = Session(profile=profile)
        self._credentials: Any = None

    def renew(self) -> None:
        """Forget the credentials: files they came from may have changed since."""
        self._session = Session(profile=self._profile)
        self._credentials = None

    @property
    def region(self) -> str | None:
        """The region, if one is configured.

        Raises
        ------
        Unreachable
            If the configuration of AWS is at fault.
        """
        value = self._region or self._configured("region")
        return str(value) if value else None

    @property
    def ca_bundle(self) -> str | None:
        """Path of the certificates to trust, where they are named."""
        value = self._configured("ca_bundle")
        return str(value) if value else None

    @property
    def most_tries(self) -> int | None:
        """How often to try a request, where it is configured (``AWS_MAX_ATTEMPTS``)."""
        value = self._configured("max_attempts")
        return int(value) if value else None

    @property
    def access(self) -> Access:
        """What is known of the credentials."""
        method = getattr(self._credentials, "method", None)
        try:
            profile = self._profile or self._session.get_config_variable("profile")
            scoped = self._session.get_scoped_config()
        except BotoCoreError:  # a profile that is missing is told where it is used
            return Access(self._target, self._profile, method)
        sso = "sso_session" in scoped or "sso_start_url" in scoped
        return Access(self._target, profile, method, sso)

    def credentials(self) -> Any:
        """Return credentials that are valid now, as botocore signs with them.

        Raises
        ------
        Unreachable
            If there are none, or they can't be refreshed.
        """
        try:
            if self._credentials is None:
                self._credentials = self._session.get_credentials()
            if self._credentials is None:
                raise no_credentials(self.access)
            return self._credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError, RuntimeError) as error:  # the last: still expired
            fault = credentials_fault(error, self.access)
            self.renew()  # what a person mends meanwhile is found by the next call
            raise fault from error

    def client(self, service: str) -> Any:
        """Return botocore's client of a service.

        Raises
        ------
        Unreachable
            If there are no credentials, or no region.
        """
        from botocore.config import Config

        self.credentials()
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard"},
        )
        try:
            return self._session.create_client(service, region_name=self.region, config=config)
        except BotoCoreError as error:
            raise credentials_fault(error, self.access) from error

    def _configured(self, name: str) -> Any:
        try:
            return self._session.get_config_variable(name)
        except (BotoCoreError, ValueError) as error:
            if isinstance(error, BotoCoreError):
                raise credentials_fault(error, self.access) from error
            raise Unreachable(f"the configuration of AWS is at fault: {name}: {error}") from error
