"""A bill of materials as CycloneDX 1.5 JSON (https://cyclonedx.org/docs/1.5/json/). Pure."""

from __future__ import annotations

import uuid

from hosier.inspect.bill import Bill, Component
from hosier.inspect.spdx import moment


def document(bill: Bill, *, tool: str) -> dict[str, object]:
    """The document; `tool` is who made it, "hosier-VERSION"."""
    root = f"image:sha256:{bill.digest}"
    refs = {each.key: each.purl for each in bill.components}
    name, _, version = tool.partition("-")
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{tool}/cyclonedx/{bill.digest}')}",
        "version": 1,
        "metadata": {
            "timestamp": moment(bill.created),
            "tools": {"components": [{"type": "application", "name": name, "version": version}]},
            "component": {
                "type": "container",
                "bom-ref": root,
                "name": bill.name,
                "version": bill.version,
                "properties": [
                    {"name": "hosier:digest", "value": bill.digest},
                    {"name": "hosier:architecture", "value": bill.architecture},
                    {"name": "hosier:distribution", "value": bill.distribution},
                ],
            },
        },
        "components": [_component(each) for each in bill.components],
        "dependencies": [
            {"ref": root, "dependsOn": sorted(refs[each] for each in bill.requested if each in refs)},
            *(
                {"ref": each.purl, "dependsOn": sorted(refs[need] for need in each.needs if need in refs)}
                for each in bill.components
            ),
        ],
    }


def _component(component: Component) -> dict[str, object]:
    found: dict[str, object] = {
        "type": "library" if component.name.startswith("lib") else "application",
        "bom-ref": component.purl,
        "name": component.name,
        "version": component.version,
        "purl": component.purl,
    }
    if component.maintainer:
        found["publisher"] = component.maintainer
    if component.summary:
        found["description"] = component.summary
    if component.sha256:
        found["hashes"] = [{"alg": "SHA-256", "content": component.sha256}]
    if component.licence:
        found["licenses"] = [{"expression": component.licence}]
    references = [
        {"type": kind, "url": url}
        for kind, url in (("distribution", component.url), ("website", component.homepage))
        if url.startswith(("http://", "https://", "file:/"))
    ]
    if references:
        found["externalReferences"] = references
    found["properties"] = [
        {"name": "hosier:source", "value": component.source},
        {"name": "hosier:source-version", "value": component.source_version},
    ]
    return found
