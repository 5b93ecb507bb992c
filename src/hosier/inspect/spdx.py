"""A bill of materials as SPDX 2.3 JSON (https://spdx.github.io/spdx-spec/v2.3/). Pure, the same for the same bill."""

from __future__ import annotations

import re
import time
import uuid

from hosier.inspect import licences
from hosier.inspect.bill import Bill, Component

NOTHING = "NOASSERTION"


def document(bill: Bill, *, tool: str) -> dict[str, object]:
    """The document; `tool` is who made it, "hosier-VERSION"."""
    root = "SPDXRef-image"
    refs = {each.key: f"SPDXRef-package-{_identifier(each.key)}" for each in bill.components}
    relationships = [_relation("SPDXRef-DOCUMENT", "DESCRIBES", root)]
    relationships += [_relation(root, "CONTAINS", refs[each.key]) for each in bill.components]
    relationships += [
        _relation(refs[each.key], "DEPENDS_ON", refs[need])
        for each in bill.components
        for need in each.needs
        if need in refs
    ]
    found: dict[str, object] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{bill.name}-{bill.version}",
        "documentNamespace": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{tool}/spdx/{bill.digest}')}",
        "creationInfo": {"created": moment(bill.created), "creators": [f"Tool: {tool}"]},
        "packages": [_image(bill, root), *(_package(each, refs[each.key]) for each in bill.components)],
        "relationships": relationships,
    }
    unnamed = licences.references(each.licence for each in bill.components)
    if unnamed:
        found["hasExtractedLicensingInfos"] = [
            {
                "licenseId": ref,
                "name": ref.removeprefix("LicenseRef-"),
                "extractedText": "a name that packages use: their /usr/share/doc/*/copyright has the text",
            }
            for ref in unnamed
        ]
    return found


def moment(seconds: int) -> str:
    """A time as both formats have it: RFC 3339, UTC, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _identifier(key: str) -> str:
    """An SPDX identifier: letters, digits, "." and "-"; what is not is spelt so that no two names fall together."""
    return re.sub(r"[^A-Za-z0-9.]", lambda found: "-" if found[0] == "-" else f"-{ord(found[0]):02x}-", key)


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _image(bill: Bill, ref: str) -> dict[str, object]:
    return {
        "SPDXID": ref,
        "name": bill.name,
        "versionInfo": bill.version,
        "downloadLocation": NOTHING,
        "filesAnalyzed": False,
        "licenseConcluded": NOTHING,
        "licenseDeclared": NOTHING,
        "copyrightText": NOTHING,
        "primaryPackagePurpose": "CONTAINER",
        "comment": f"image sha256:{bill.digest}, {bill.architecture}",
    }


def _package(component: Component, ref: str) -> dict[str, object]:
    found: dict[str, object] = {
        "SPDXID": ref,
        "name": component.name,
        "versionInfo": component.version,
        "supplier": _supplier(component.maintainer),
        "downloadLocation": component.url or NOTHING,
        "filesAnalyzed": False,
        "sourceInfo": f"built from {component.source} {component.source_version}",
        "licenseConcluded": NOTHING,
        "licenseDeclared": component.licence or NOTHING,
        "copyrightText": NOTHING,
        "primaryPackagePurpose": "LIBRARY" if component.name.startswith("lib") else "APPLICATION",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": component.purl,
            }
        ],
    }
    if component.sha256:
        found["checksums"] = [{"algorithm": "SHA256", "checksumValue": component.sha256}]
    if component.homepage.startswith(("http://", "https://")):
        found["homepage"] = component.homepage
    if component.summary:
        found["summary"] = component.summary
    return found


def _supplier(maintainer: str) -> str:
    """ "Organization: NAME (ADDRESS)" of a Maintainer field (policy 5.6.2)."""
    name, bracket, address = maintainer.partition(" <")
    name = name.strip("\"' ")
    if not name:
        return NOTHING
    address = address.rstrip("> ")
    return f"Organization: {name} ({address})" if bracket and address else f"Organization: {name}"
