"""What the packages of a root with an RPM database need of each other, as far as names tell."""

from __future__ import annotations

from hosier.distro.rpm import installed, richdeps
from hosier.linux.rooted import Root
from hosier.spec import naming


def needs(root: Root, native: str) -> dict[str, tuple[str, ...]]:
    """The keys of what meets each package's requirements, by its key (`hosier.spec.naming`).

    Versions are not compared, since the root was installed with them; of several that provide a name it is the package
    of that name, else the first, of the same architecture where there is one. Raises as `installed.read`.
    """
    database = installed.read(root, files=True, relations=True)
    if database is None:
        return {}
    doubled = naming.repeated(naming.plain(each.name, each.architecture, native) for each in database.packages)
    keys = {
        each.nevra: naming.key(each.name, str(each.evr), each.architecture, native, doubled)
        for each in database.packages
    }
    provided: dict[str, list[installed.Package]] = {}
    for package in database.packages:
        for name in (*package.provides, *(file.path for file in package.files)):
            provided.setdefault(name, []).append(package)
    found = {}
    for package in database.packages:
        met = set()
        for wanted in package.requires:
            for name in richdeps.names(wanted) if wanted.startswith("(") else (wanted,):
                given = provided.get(name, ())
                if given and package not in given:
                    best = min(given, key=lambda each: (each.name != name, each.architecture != package.architecture))
                    met.add(keys[best.nevra])
        found[keys[package.nevra]] = tuple(sorted(met))
    return found
