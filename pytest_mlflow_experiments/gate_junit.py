"""A verdict in pytest's own JUnit XML: a failure of the test case that stands there as passed."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from _pytest.junitxml import bin_xml_escape, mangle_test_address, xml_key

if TYPE_CHECKING:
    from _pytest.junitxml import LogXML


def junit_of(config: pytest.Config) -> LogXML | None:
    """Return the plugin that writes the XML, where it is asked for."""
    return config.stash.get(xml_key, None)


def fail_testcase(xml: LogXML, nodeid: str, text: str) -> bool:
    """Turn a test case that passed into one that failed; return whether it was found.

    Another report of the same test would become a second test case of the same name. This one is
    finished, but its element still is the one that is written at the end.
    """
    *classes, name = mangle_test_address(nodeid)
    if xml.prefix:
        classes.insert(0, xml.prefix)
    address = {"classname": ".".join(classes), "name": name}
    wanted = {key: str(bin_xml_escape(value)) for key, value in address.items()}
    for reporter in xml.node_reporters_ordered:
        element = reporter.to_xml()
        if wanted.items() <= dict(element.attrib).items() and element.find("failure") is None:
            message = str(bin_xml_escape(text))
            ET.SubElement(element, "failure", message=message).text = message
            xml.stats["passed"] -= 1
            xml.stats["failure"] += 1
            return True
    return False
