"""How a registry is reached: encrypted or not, and whose certificates are believed.

A registry speaks HTTPS. Plain HTTP is spoken to this machine itself (localhost, 127.0.0.0/8, [::1]), and to a host
that registries.conf(5) calls insecure: `insecure = true` in the `[[registry]]` whose prefix or location is that
HOST[:PORT]. Read are $CONTAINERS_REGISTRIES_CONF, or ~/.config/containers/registries.conf, or
/etc/containers/registries.conf, and the *.conf of the folder registries.conf.d beside it.

Certificates of one's own are where podman and docker have them, in the folders of containers-certs.d(5): *.crt are
authorities to believe besides the system's, NAME.cert with NAME.key what to show for oneself. A registry on this
machine that has such a folder speaks HTTPS. SSL_CERT_FILE and SSL_CERT_DIR hold for every host.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from hosier.dataclasses import dataclass
from hosier.errors import FetchFailed
from hosier.fetch.reference import Reference

if TYPE_CHECKING:
    from ssl import SSLContext


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`base` is the URL of the registry without a slash at its end; `trust` what TLS uses in the place of the usual."""

    base: str
    trust: SSLContext | None = None


def endpoint(reference: Reference, environment: Mapping[str, str]) -> Endpoint:
    """Where `reference` is reached. Raises FetchFailed for settings that cannot be read."""
    folder = _certificates(reference.host, environment)
    if folder is not None:
        return Endpoint(f"https://{reference.server}", _trust(folder))
    plain = reference.loopback or _insecure(reference.host, environment)
    return Endpoint(f"{'http' if plain else 'https'}://{reference.server}")


def _homes(environment: Mapping[str, str]) -> str:
    home = environment.get("HOME") or os.path.expanduser("~")
    return f"{environment.get('XDG_CONFIG_HOME') or f'{home}/.config'}/containers"


def _certificates(host: str, environment: Mapping[str, str]) -> str | None:
    places = (f"{_homes(environment)}/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d")
    for place in places:
        folder = os.path.join(place, host)
        if glob.glob(f"{glob.escape(folder)}/*.c*rt"):
            return folder
    return None


def _trust(folder: str) -> SSLContext:
    import ssl

    context = ssl.create_default_context()
    names = sorted(os.listdir(folder))
    for name in names:
        path = os.path.join(folder, name)
        try:
            if name.endswith(".crt"):
                context.load_verify_locations(cafile=path)
            elif name.endswith(".cert"):
                context.load_cert_chain(path, path.removesuffix(".cert") + ".key")
        except (OSError, ssl.SSLError) as error:
            reason = "it is not a certificate" if isinstance(error, ssl.SSLError) else str(error.strerror).lower()
            raise FetchFailed(f"cannot use the certificate {path}: {reason}")
    return context


def _insecure(host: str, environment: Mapping[str, str]) -> bool:
    import tomllib

    for path in _settings(environment):
        try:
            with open(path, "rb") as file:
                document = tomllib.load(file)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise FetchFailed(f"cannot read {path}: {(error.strerror or str(error)).lower()}")
        except ValueError as error:
            raise FetchFailed(f"cannot read {path}: {error}")
        rows = document.get("registry")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and (row.get("prefix") or row.get("location")) == host:
                return row.get("insecure") is True
    return False


def _settings(environment: Mapping[str, str]) -> Iterator[str]:
    """The files, what overrides first."""
    explicit = environment.get("CONTAINERS_REGISTRIES_CONF")
    own = f"{_homes(environment)}/registries.conf"
    main = explicit or (own if os.path.exists(own) else "/etc/containers/registries.conf")
    yield from sorted(glob.glob(f"{glob.escape(main)}.d/*.conf"), reverse=True)
    yield main
