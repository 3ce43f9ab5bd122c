"""What strangers rely on: no test reaches the network; citation, issue forms and workflow agree with the project."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytest_socket import SocketConnectBlockedError

import prealign

ROOT = Path(__file__).parents[1]
ELEMENTS = {"markdown", "input", "textarea", "dropdown", "checkboxes"}


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore:A test tried to use socket")
def test_no_test_reaches_the_network() -> None:
    """192.0.2.1 is an address for documentation: no machine has it."""
    with socket.socket() as client, pytest.raises(SocketConnectBlockedError):
        client.connect(("192.0.2.1", 80))


def test_a_test_reaches_its_own_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"here")
        assert server.accept()[0].recv(4) == b"here"


def test_the_citation_is_that_of_the_project_and_the_paper() -> None:
    """The fields that the Citation File Format 1.2.0 requires, and those that stand elsewhere too."""
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == prealign.__version__
    assert f'license = "{citation["license"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (paper,) = citation["references"]
    bibtex = (ROOT / "README.md").read_text(encoding="utf-8")
    assert paper["title"] in re.sub(r"[{}]", "", bibtex)
    names = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    assert names in bibtex


@pytest.mark.parametrize("name", ["bug", "proposal", "result"])
def test_an_issue_form_has_what_a_form_needs(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"] and form["description"]
    ids = [element["id"] for element in form["body"]]
    assert len(set(ids)) == len(ids)
    for element in form["body"]:
        assert element["type"] in ELEMENTS and element["attributes"]["label"]


def test_the_workflow_tests_every_python_that_the_project_allows() -> None:
    jobs = read(".github/workflows/test.yml")["jobs"]
    pythons = jobs["newest"]["strategy"]["matrix"]["python"]
    lowest = re.findall(r'requires-python = ">=(.+?)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert pythons == ["3.10", "3.11", "3.12", "3.13"] and pythons[0] == lowest[0]
    assert "--resolution lowest-direct" in jobs["lowest"]["steps"][-2]["run"]
