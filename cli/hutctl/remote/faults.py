"""What can stand between this machine and a control plane, as sentences that say what to do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore import exceptions as aws
from botocore.exceptions import BotoCoreError, ClientError

from hutctl.client import Unreachable

__all__ = [
    "Access",
    "OutOfReach",
    "Refused",
    "connection_fault",
    "credentials_fault",
    "no_credentials",
    "refusal",
]

_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
_UNKNOWN = ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidToken")
_NEVER_EXPIRE_THERE = ("env", "explicit")
"""Credentials that this process can't see renewed: its environment stays what it is."""


class OutOfReach(Unreachable):
    """The API does not answer now; it may again later.

    Attributes
    ----------
    passing : bool
        Trying again within seconds may help.
    sent : bool
        The request may have had its effect.
    """

    def __init__(self, message: str, *, passing: bool = True, sent: bool = False) -> None:
        self.passing = passing
        self.sent = sent
        super().__init__(message)


class Refused(Unreachable):
    """The credentials are missing, have expired or are not enough.

    Attributes
    ----------
    renewable : bool
        A person can renew them while this process waits.
    """

    def __init__(self, message: str, *, renewable: bool = False) -> None:
        self.renewable = renewable
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Access:
    """Whose credentials are used, as far as messages need it.

    Attributes
    ----------
    method : str or None
        How botocore came by them, e.g. ``env`` or ``sso``; None if it did not.
    sso : bool
        The profile logs in through IAM Identity Center.
    """

    target: str
    profile: str | None
    method: str | None = None
    sso: bool = False

    @property
    def whose(self) -> str:
        """Name the credentials."""
        if self.method == "env":
            return "the credentials in the environment (AWS_ACCESS_KEY_ID ...)"
        if self.profile is not None:
            return f"the credentials of profile {self.profile!r}"
        return "the AWS credentials"

    @property
    def renewable(self) -> bool:
        """Say whether they can change while this process runs."""
        return self.method not in _NEVER_EXPIRE_THERE

    @property
    def login(self) -> str:
        """Say how to get new ones."""
        option = f" --profile {self.profile}" if self.profile is not None else ""
        if self.method == "env":
            return "set new ones"
        if self.sso or self.method == "sso":
            return f"log in with: aws sso login{option}"
        if self.method == "login":
            return f"log in with: aws login{option}"
        return f"renew them; with IAM Identity Center: aws sso login{option}"


def credentials_fault(error: Exception, access: Access) -> Unreachable:
    """Return what to tell of credentials that botocore could not get."""
    option = f" --profile {access.profile}" if access.profile is not None else ""
    if isinstance(error, aws.ProfileNotFound):
        return Refused(
            f"there is no AWS profile {access.profile!r}, which target {access.target!r} uses; "
            f"make it with: aws configure sso{option}"
        )
    if isinstance(error, (aws.SSOError, aws.TokenRetrievalError)):
        return Refused(
            f"the login of {access.whose} has expired; log in with: aws sso login{option}",
            renewable=True,
        )
    if type(error).__name__.startswith("Login"):  # not in every botocore
        return Refused(
            f"the login of {access.whose} has expired; log in with: aws login{option}",
            renewable=True,
        )
    if isinstance(error, (aws.CredentialRetrievalError, RuntimeError)):
        return Refused(
            f"{access.whose} can't be had: {_shortened(error)}; {access.login}", renewable=True
        )
    if isinstance(error, aws.PartialCredentialsError):
        return Refused(f"the AWS credentials are not complete: {error}")
    if isinstance(error, ClientError):
        return Refused(
            f"{access.whose} were refused: {error}; {access.login}", renewable=access.renewable
        )
    if isinstance(error, (aws.HTTPClientError, aws.ConnectionError)):
        return OutOfReach(f"{access.whose} can't be had now: {_shortened(error)}")
    return Refused(f"{access.whose} can't be used: {_shortened(error)}; {access.login}")


def no_credentials(access: Access) -> Refused:
    """Return what to tell where there are none."""
    if access.profile is not None:
        return Refused(
            f"profile {access.profile!r} has no AWS credentials; log in with: "
            f"aws sso login --profile {access.profile}",
            renewable=True,
        )
    return Refused(
        f"there are no AWS credentials for target {access.target!r}; set AWS_PROFILE or "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or add the target with --profile"
    )


def connection_fault(error: BotoCoreError, place: str) -> OutOfReach:
    """Return what to tell of a request that got no answer."""
    host = urlsplit(place).netloc
    if isinstance(error, aws.SSLError):
        return OutOfReach(
            f"no trusted TLS connection to {host}: {_reason(error)}; where a proxy opens TLS, "
            "name its certificates in AWS_CA_BUNDLE",
            passing=False,
        )
    if any(_is_unknown_host(cause) for cause in _causes(error)):
        return OutOfReach(
            f"the host {host} is not known; is this machine online, and does the control plane "
            "still exist? If it was deployed anew: hutctl target add",
            passing=False,
        )
    if isinstance(error, aws.ProxyConnectionError):
        return OutOfReach(f"the proxy can't be reached: {_shortened(error)}; see HTTPS_PROXY")
    if isinstance(error, aws.ConnectTimeoutError):
        return OutOfReach(f"{place} can't be reached in time; is this machine online?")
    if isinstance(error, aws.EndpointConnectionError):
        return OutOfReach(f"{place} can't be reached: {_reason(error)}")
    if isinstance(error, aws.ReadTimeoutError):
        return OutOfReach(f"{place} did not answer in time", sent=True)
    return OutOfReach(f"the connection to {place} broke: {_reason(error)}", sent=True)


def refusal(
    kind: str,
    message: str,
    access: Access,
    *,
    region: str,
    clock_off: float | None,
    policy: str | None = None,
) -> Refused:
    """Return what to tell of an answer 401 or 403.

    Parameters
    ----------
    kind
        Name of AWS's exception; empty if the control plane itself refused.
    clock_off
        Seconds by which this machine's clock is ahead of the API's.
    policy
        Name of the IAM policy that allows it, where one does.
    """
    if kind in _EXPIRED or ("token" in message.lower() and "expired" in message.lower()):
        return Refused(f"{access.whose} have expired; {access.login}", renewable=access.renewable)
    if kind in _UNKNOWN:
        return Refused(
            f"AWS does not know {access.whose}: {message}; {access.login}",
            renewable=access.renewable,
        )
    if clock_off is not None and abs(clock_off) > 240 and "ignature" in kind + message:
        side = "ahead" if clock_off > 0 else "behind"
        return Refused(
            f"the clock of this machine is {abs(clock_off) / 60:,.0f} minutes {side}, so AWS takes "
            "no signature from it; set the clock"
        )
    if kind in (
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignatureException",
    ):
        return Refused(
            f"AWS refused the signature: the secret of {access.whose} is wrong, or the API is not "
            f"in region {region}; see: hutctl doctor"
        )
    if kind == "MissingAuthenticationTokenException":
        return Refused(
            f"the API of target {access.target!r} has no such route; its address may be wrong, or "
            "it is of another version: hutctl doctor"
        )
    if "resource-based policy" in message:  # the API's own: see decision 19
        return Refused(
            f"{access.whose} are of another account than the API of target {access.target!r}, which "
            f"takes none of those: {message}; take a role in its account that has the policy"
            + (f" {policy}" if policy is not None else " you need")
        )
    return Refused(
        f"{access.whose} may not do this on target {access.target!r}: {message or 'forbidden'}; "
        + (
            f"ask whoever runs the account for the policy {policy}"
            if policy is not None
            else "ask for execute-api:Invoke on its API"
        )
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from, also where urllib3 only names it."""
    for _ in range(8):
        if error is None:
            return
        yield error
        kept = (
            getattr(error, "kwargs", {}).get("error") if isinstance(error, BotoCoreError) else None
        )
        inner = kept or getattr(error, "reason", None) or error.__cause__ or error.__context__
        error = inner if isinstance(inner, BaseException) else None


def _is_unknown_host(error: BaseException) -> bool:
    return isinstance(error, socket.gaierror) or type(error).__name__ == "NameResolutionError"


def _reason(error: BotoCoreError) -> str:
    """Return the innermost words: what the system said."""
    for cause in list(_causes(error))[::-1]:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return _shortened(error)


def _shortened(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:299] + "…"
