"""The catalog: which file a name means, and what a reference becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator import catalog as catalog_module
from simulator.catalog import KINDS, Catalog, data_folder
from simulator.documents import parse_document, read_document
from simulator.errors import DocumentError, ScenarioError, SimulatorError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[[str, str], Path]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Replace the shipped folders by a few small profiles; return how to write more."""
    root = tmp_path / "shipped"
    monkeypatch.setattr(catalog_module, "data_folder", lambda name: root / name)
    write = writer(root)
    write("hardware_profiles/kernels/k1.yaml", "tile: 128\n")
    write(
        "hardware_profiles/accelerators/h100.yaml",
        "name: h100\nmemory_gb: {value: 80, source: Data sheet, status: published}\n"
        "peak: {bf16: 989, fp8: 1979}\nkernels: k1\n",
    )
    write("hardware_profiles/accelerators/h200.yaml", "base: h100\nname: h200\nmemory_gb: 141\n")
    write("hardware_profiles/accelerators/p100.yaml", "name: p100\npeak: {fp32: 10}\nkernels: k1\n")
    write("hardware_profiles/nodes/hgx.yaml", "accelerators: 8\n")
    write("hardware_profiles/fabrics/ndr.yaml", "nic_gbit_per_s: 400\n")
    write(
        "hardware_profiles/clusters/big.yaml",
        "name: big\naccelerator: h100\nnode: hgx\nfabric: ndr\nlargest: 16384\n",
    )
    write("scenarios/one.yaml", "cluster: big\n")
    write("scenarios/models/llama.yaml", "layers: 80\n")
    return write


@pytest.fixture
def own(tmp_path: Path) -> Write:
    (tmp_path / "own").mkdir()
    return writer(tmp_path / "own")


def writer(root: Path) -> Write:
    def write(name: str, text: str) -> Path:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def own_catalog(tmp_path: Path) -> Catalog:
    return Catalog((tmp_path / "own",))


def message_of(caught: pytest.ExceptionInfo[ScenarioError]) -> str:
    (problem,) = caught.value.problems
    return str(problem)


# --- names and files -----------------------------------------------------------------------------


@pytest.mark.usefixtures("shipped")
def test_names_are_the_stems_of_the_files_of_a_kind() -> None:
    assert Catalog().names("accelerator") == ("h100", "h200", "p100")
    assert Catalog().names("scenario") == ("one",)
    assert Catalog().names("model") == ("llama",)
    assert Catalog().names("software") == ()


@pytest.mark.usefixtures("shipped")
def test_own_profiles_come_first(tmp_path: Path, own: Write) -> None:
    sub = own("accelerators/h100.yaml", "name: ours\n")
    direct = own("lab.yml", "name: lab\n")
    own("models/tiny.yaml", "layers: 2\n")
    catalog = own_catalog(tmp_path)
    assert catalog.path("accelerator", "h100") == sub
    assert catalog.path("node", "lab") == direct
    assert catalog.names("model") == ("llama", "tiny")
    assert catalog.names("accelerator") == ("h100", "h200", "p100")
    assert catalog.document("accelerator", "h100").data == {"name": "ours"}


@pytest.mark.usefixtures("shipped")
def test_an_unknown_name_lists_the_known_and_the_near() -> None:
    with pytest.raises(ScenarioError) as caught:
        Catalog().path("accelerator", "h10")
    assert message_of(caught) == (
        "unknown accelerator 'h10'; did you mean 'h100'?; known: h100, h200, p100"
    )


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize("name", ["../h100", "a/b", "..", "", ".hidden", "x" * 5000, "a\0b", "a b"])
def test_a_name_that_leaves_its_folder_is_refused(name: str) -> None:
    with pytest.raises(ScenarioError, match=r"is neither a profile's name nor a path to a \.yaml"):
        Catalog().path("accelerator", name)


@pytest.mark.usefixtures("shipped")
def test_an_unknown_kind_and_a_missing_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SimulatorError, match="unknown kind of profile 'modl'; did you mean"):
        Catalog().names("modl")
    with pytest.raises(DocumentError, match="no such profile directory"):
        Catalog((tmp_path / "none",))


@pytest.mark.parametrize("name", sorted({folder.split("/")[0] for folder in KINDS.values()}))
def test_shipped_data_is_found(name: str) -> None:
    assert data_folder(name).is_dir()


def test_an_incomplete_installation_is_reported() -> None:
    with pytest.raises(DocumentError, match="it has no folder no-such-folder"):
        data_folder("no-such-folder")


# --- references ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("shipped")
def test_a_name_becomes_the_profile_and_what_it_refers_to() -> None:
    document = parse_document("cluster: big\n", "s.yaml")
    cluster = Catalog().resolve("cluster", document, ("cluster",))
    assert cluster.data["cluster"] == {
        "name": "big",
        "accelerator": {
            "name": "h100",
            "memory_gb": 80,
            "peak": {"bf16": 989, "fp8": 1979},
            "kernels": {"tile": 128},
        },
        "node": {"accelerators": 8},
        "fabric": {"nic_gbit_per_s": 400},
        "largest": 16384,
    }
    assert str(cluster.mark(("cluster", "accelerator", "peak"))).endswith("h100.yaml:3")
    assert cluster.sources["cluster", "accelerator", "memory_gb"].text == "Data sheet"


@pytest.mark.usefixtures("shipped")
def test_a_base_is_changed_key_by_key() -> None:
    text = "accelerator:\n  base: h200\n  peak: {fp8: 1}\n"
    document = Catalog().resolve("accelerator", parse_document(text, "s.yaml"), ("accelerator",))
    assert document.data["accelerator"] == {
        "name": "h200",
        "memory_gb": 141,
        "peak": {"bf16": 989, "fp8": 1},
        "kernels": {"tile": 128},
    }
    assert str(document.mark(("accelerator", "peak", "fp8"))) == "s.yaml:3"
    assert ("accelerator", "memory_gb") not in document.sources


@pytest.mark.usefixtures("shipped")
def test_keys_of_a_nested_profile_change_the_one_that_the_base_names() -> None:
    text = "cluster: {base: big, accelerator: {memory_gb: 64}}\n"
    document = Catalog().resolve("cluster", parse_document(text, "s.yaml"), ("cluster",))
    accelerator = document.data["cluster"]["accelerator"]
    assert (accelerator["name"], accelerator["memory_gb"]) == ("h100", 64)


@pytest.mark.usefixtures("shipped")
def test_a_nested_profile_with_a_base_of_its_own_keeps_nothing_of_the_former() -> None:
    text = "cluster: {base: big, accelerator: {base: p100, name: ours}}\n"
    document = Catalog().resolve("cluster", parse_document(text, "s.yaml"), ("cluster",))
    assert document.data["cluster"]["accelerator"] == {
        "name": "ours",
        "peak": {"fp32": 10},
        "kernels": {"tile": 128},
    }


@pytest.mark.usefixtures("shipped")
def test_a_file_name_counts_from_the_file_that_it_stands_in(tmp_path: Path, own: Write) -> None:
    own("site/gpu.yaml", "base: parts/half.yaml\nname: gpu\n")
    own("site/parts/half.yaml", "base: h100\nkernels: ../k.yaml\n")
    own("site/k.yaml", "tile: 64\n")
    scenario = own("s.yaml", "accelerator: site/gpu.yaml\n")
    document = Catalog().resolve("accelerator", read_document(scenario), ("accelerator",))
    assert document.data["accelerator"]["name"] == "gpu"
    assert document.data["accelerator"]["kernels"] == {"tile": 64}
    assert own_catalog(tmp_path).document("accelerator", str(scenario.parent / "site/gpu.yaml"))


@pytest.mark.usefixtures("shipped")
def test_an_own_profile_may_be_based_on_the_shipped_one_of_its_name(
    tmp_path: Path, own: Write
) -> None:
    own("accelerators/h100.yaml", "base: h100\nmemory_gb: 96\n")
    document = own_catalog(tmp_path).document("accelerator", "h100")
    assert (document.data["name"], document.data["memory_gb"]) == ("h100", 96)
    assert "base" not in document.data


@pytest.mark.usefixtures("shipped")
def test_a_document_may_itself_have_a_base() -> None:
    text = "base: one\nlayout: {tensor: 8}\n"
    document = Catalog().resolve("scenario", parse_document(text, "s.yaml"), ())
    assert document.data == {"cluster": "big", "layout": {"tensor": 8}}


@pytest.mark.usefixtures("shipped")
def test_a_complete_mapping_stays_but_for_its_references() -> None:
    text = "accelerator: {name: mine, kernels: {base: k1, depth: 2}}\n"
    document = Catalog().resolve("accelerator", parse_document(text, "s.yaml"), ("accelerator",))
    assert document.data["accelerator"] == {"name": "mine", "kernels": {"tile": 128, "depth": 2}}


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize("text", ["model: config.json\n", "model: 5\n", "model: null\n", "x: 1\n"])
def test_what_is_no_reference_is_left_for_validation(text: str) -> None:
    document = parse_document(text, "s.yaml")
    assert Catalog().resolve("model", document, ("model",)) == document


# --- mistakes ------------------------------------------------------------------------------------


def test_profiles_based_on_one_another_are_refused(shipped: Write) -> None:
    shipped("hardware_profiles/nodes/a.yaml", "base: b\n")
    shipped("hardware_profiles/nodes/b.yaml", "x: 1\nbase: a\n")
    with pytest.raises(ScenarioError) as caught:
        Catalog().document("node", "a")
    assert "b.yaml:2: base: profiles are based on one another in a circle: a -> b -> a" in (
        message_of(caught)
    )


def test_every_reference_that_leads_nowhere_is_reported_with_its_line(shipped: Write) -> None:
    file = shipped(
        "hardware_profiles/clusters/bad.yaml",
        "accelerator: h101\nnode: {base: [hgx]}\nfabric: none.yaml\n",
    )
    document = parse_document("\ncluster: bad\nmodel: lama\n", "s.yaml")
    with pytest.raises(ScenarioError) as caught:
        Catalog().resolve_all(document, {("cluster",): "cluster", ("model",): "model"})
    lines = [str(problem) for problem in caught.value.problems]
    assert lines == [
        (
            f"{file}:1: cluster.accelerator: unknown accelerator 'h101'; did you mean 'h100'?; "
            "known: h100, h200, p100"
        ),
        f"{file}:2: cluster.node.base: must be the name of a profile, got a list",
        f"{file}:3: cluster.fabric: {file.parent / 'none.yaml'}: no such file",
        "s.yaml:3: model: unknown model 'lama'; did you mean 'llama'?; known: llama",
    ]


def test_a_broken_profile_is_reported_with_the_line_that_names_it(shipped: Write) -> None:
    file = shipped("hardware_profiles/nodes/broken.yaml", "a: [\n")
    with pytest.raises(ScenarioError) as caught:
        Catalog().resolve("node", parse_document("node: broken\n", "s.yaml"), ("node",))
    assert message_of(caught).startswith(f"s.yaml:1: node: {file}:2: not valid YAML")


def test_a_badly_sourced_number_in_a_profile_is_carried_along_once(shipped: Write) -> None:
    shipped("hardware_profiles/nodes/odd.yaml", "nics: {value: 8, status: rumour}\n")
    text = "node: {base: odd, x: {value: 1, status: hearsay}}\n"
    document = Catalog().resolve("node", parse_document(text, "s.yaml"), ("node",))
    assert sorted(problem.path for problem in document.problems) == [
        "node.nics.status",
        "node.x.status",
    ]
